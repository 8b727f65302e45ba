"""Serves readings: latest values, series and events."""
