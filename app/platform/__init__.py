"""Provides what every room needs: errors, settings, database, broker, HTTP contract."""
