"""Serves the pages of sites and boxes, and the charts of their series."""
