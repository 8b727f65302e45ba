"""Presents texts to people: translations."""
