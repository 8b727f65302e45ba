"""From the broker to the database: sources, codec, pipeline."""
