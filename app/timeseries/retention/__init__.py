"""Retention: what is older than its site keeps it is removed, purpose by purpose, a local day at a time."""
