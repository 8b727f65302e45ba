"""Grants: revocable, dated rights by which third parties read measurements of an organisation's sites."""
