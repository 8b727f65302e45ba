"""Serves the REST endpoints for webhooks, channels, deliveries and replays."""
