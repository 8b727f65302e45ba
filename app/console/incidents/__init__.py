"""Serves the list, the map and the review of sound incidents."""
