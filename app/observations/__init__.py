"""Samples, latest values, events and quarantine: how they are written and read."""
