"""Stores rules and their versions, and validates their conditions."""
