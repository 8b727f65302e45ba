"""The measurement stream: samples, events, corrections and settled hours in commit order, resumable."""
