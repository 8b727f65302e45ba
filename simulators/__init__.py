"""Simulated fleets, replays of real data, and a webhook receiver. They speak REST and MQTT like anybody."""
