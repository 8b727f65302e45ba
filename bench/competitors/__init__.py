"""The competitors: programs that drain the same backlog, each a process of its own.

A program takes one argument, a JSON object (see `task.Task`), and writes one line when all messages are
done; Vigie's own ingest is not here, it runs as `python -m app ingest`.
"""
