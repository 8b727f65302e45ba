"""Groups impulsive sound events of a site's boxes into incidents, locates them, and lets people review them.

Owns the tables of incidents, the worker that makes them, their review, and their outbox events.
`app.acoustics`, which is pure, associates and locates the events. Guide: docs/incidents.md.
"""
