"""Connects to the MQTT broker under Vigie's own account and watches its metrics."""
