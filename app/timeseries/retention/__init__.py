"""Removes data that are older than the retention of their site and purpose, by whole local days."""
