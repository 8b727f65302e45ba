"""Serves the first run, the registration and the operations of boxes, and the quarantine."""
