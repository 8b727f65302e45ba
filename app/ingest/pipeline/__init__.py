"""Commits a batch of messages to the database, step by step."""
