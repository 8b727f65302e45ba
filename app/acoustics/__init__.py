"""Groups sound events of several boxes by source, locates the source, and pools their classifications.

Pure: no database, no HTTP, no clock, no files; times are arguments. docs/acoustics.md has the method, the
formulas, their sources and figures.
"""
