"""Decodes messages of boxes into samples, events and statuses. Pure."""
