"""Identifies the caller of a request and limits attempts to guess a secret."""
