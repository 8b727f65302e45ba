"""Evaluates rules on indices at the end of each period."""
