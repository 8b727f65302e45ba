"""Vigie: smart- and safe-city IoT ingestion, rules, alerts and delivery."""

__version__ = "0.2.0"
