"""A replicated log between the brokers and ingest: partitions, records, positions, and its engines."""
