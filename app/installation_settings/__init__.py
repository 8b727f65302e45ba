"""Manages the settings of the installation that administrators change by the API."""
