"""Manages organisations, API keys, sites, boxes and their enrolment, purposes and quotas."""
