"""Erasure on request: what boxes measured in a range of time is removed, and its removal proven."""
