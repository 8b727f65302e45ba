"""Serves the Model Context Protocol: read-only tools over the API, with the caller's key."""
