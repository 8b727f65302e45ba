"""Reads and validates the settings of the program."""
