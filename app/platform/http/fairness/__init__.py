"""Limits rates and concurrency so that no tenant takes another one's share."""
