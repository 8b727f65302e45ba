"""Serves the list of rules, the rule builder and the back-tests."""
