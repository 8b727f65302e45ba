"""Stores samples, events and box states in the transaction of a batch."""
