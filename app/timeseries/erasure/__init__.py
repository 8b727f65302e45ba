"""Erases the data of boxes in a time range on request, and proves the erasure."""
