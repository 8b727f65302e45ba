"""Acoustics: what impulsive sounds may have come from."""
