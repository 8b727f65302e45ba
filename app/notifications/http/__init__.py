"""Sends deliveries by HTTP, signed and only to addresses that the SSRF guard allows."""
