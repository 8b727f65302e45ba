"""Detects audio, images and biometric data, none of which may be stored. Pure."""
