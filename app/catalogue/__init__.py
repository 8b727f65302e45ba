"""Holds reference data: metrics, units, event types, purposes and acoustic sources."""
