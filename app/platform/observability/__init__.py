"""Writes structured logs and Prometheus metrics."""
