"""Defines what all routes share: problems, fields, pages, sorting, ETags, idempotency keys."""
