"""Turns outbox entries into deliveries, and attempts them until they succeed or expire."""
