"""Impulsive sounds that several boxes heard: which events are of one, where it was, what it may have been.

Owns association, localisation and the fusion of opinions. Pure: no database, no HTTP, no clock, no files;
times are handed in. Method, formulas, sources and figures: docs/acoustics.md.
"""
