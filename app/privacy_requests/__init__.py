"""Requests by which people use their rights under the GDPR, such as access, objection and erasure."""
