"""Evaluates rules on environmental indices at the end of each period."""
