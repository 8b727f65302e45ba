"""Incidents: impulsive sounds that boxes of a site heard, and what people found that they were.

Owns the tables of incidents, the worker that makes them of events, their review, and what is told of them.
What the events mean is computed by `app.acoustics`, which is pure. What there is of it: docs/incidents.md.
"""
