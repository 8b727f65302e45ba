"""Serves the pages of organisations, members, keys, purposes, requests, audit and exports."""
