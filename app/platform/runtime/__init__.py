"""Runs a process: signals, heartbeat, readiness, health endpoints and HTTP timeouts."""
