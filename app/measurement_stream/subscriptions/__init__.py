"""Stores subscriptions to the measurement stream, sends their batches to sinks, and serves both by REST."""
