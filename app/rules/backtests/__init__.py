"""Tries a rule on stored samples."""
