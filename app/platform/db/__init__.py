"""Connects to PostgreSQL, begins transactions in a tenant scope and upgrades the schema."""
