"""Serves the first page, the wall and the search."""
