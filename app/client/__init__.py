"""Calls the API of an installation from the command line: `vigie login`, `get`, `tail`, `export`, `rules`.

It imports nothing of the server but `app.platform.kernel`, reads no settings and opens no database.
"""
