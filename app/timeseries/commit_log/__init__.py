"""The log of committed measurements: one row per transaction and organisation."""
