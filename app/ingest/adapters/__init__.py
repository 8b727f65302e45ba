"""Formats other than Vigie's own JSON: one file each, one line each in `app.ingest.adapters.registry`."""
