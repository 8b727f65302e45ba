"""Evaluates rules on samples. Pure: no database, no clock."""
