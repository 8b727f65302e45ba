"""Serves the pages of webhooks, channels and deliveries, and the portal of a client's developers."""
