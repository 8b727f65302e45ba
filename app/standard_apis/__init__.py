"""Provides what SensorThings, OGC API and NGSI-LD share: readers, errors, documentation."""
