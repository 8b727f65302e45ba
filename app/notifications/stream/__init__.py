"""Streams events to clients as server-sent events."""
