"""Simulates boxes and fleets, replays real data, and receives webhooks, all through the public interfaces."""
