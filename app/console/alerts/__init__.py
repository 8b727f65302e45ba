"""Serves the list of alerts, the page of an alert, and the silences."""
