"""Manages alerts from firing to resolved: timeline, notifications, silences, inhibitions and reminders."""
