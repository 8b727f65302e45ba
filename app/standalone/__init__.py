"""The embedded stack: a private PostgreSQL and Mosquitto, and the supervisor of `vigie up`.

Imports `app.platform` only: the roles are other processes, known here by name.
"""
