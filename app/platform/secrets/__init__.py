"""Encrypts secrets before they are stored, and again when keys are replaced."""
