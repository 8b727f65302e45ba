"""Maintains roll-ups: stored aggregates of hours and local days. Marks record which ones are stale."""
