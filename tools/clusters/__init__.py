"""Runs clusters of the replicated log's servers, for tests, drills and `make cluster`."""
