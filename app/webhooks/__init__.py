"""Outbox, signed webhooks, and the dispatcher."""
