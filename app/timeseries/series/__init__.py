"""Answers requests for readings: latest values, series and events."""
