"""Drain the same backlog as Vigie, for comparison: each competitor is a separate process.

A program takes one argument, a JSON object (see `task.Task`), and writes one line when all messages are
done; Vigie's own ingest is not here, it runs as `python -m app ingest`.
"""
