"""Takes messages from the broker or HTTP to the database: sources, codec, adapters, pipeline."""
