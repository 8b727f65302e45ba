"""Streams of server-sent events: limits, wake-ups, the loop of one stream, checks of its key."""
