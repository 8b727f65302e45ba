"""Stores, reads, aggregates, exports and erases what boxes measured."""
