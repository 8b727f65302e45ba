"""Defines the events and writes them to the outbox."""
