"""Publishes deliveries to the MQTT broker."""
