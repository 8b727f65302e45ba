"""Manages organisations, API keys, sites, boxes and their enrolment, declared purposes and quotas."""
