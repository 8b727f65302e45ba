"""Organisations, API keys, sites, boxes and the metric catalogue."""
