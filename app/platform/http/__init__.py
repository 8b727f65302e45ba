"""Defines how every route of the REST API behaves."""
