"""Renders a report from its input. Pure: no database, no HTTP, no clock."""
