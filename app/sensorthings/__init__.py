"""OGC SensorThings API 1.1, the sensing profile, for readers."""
