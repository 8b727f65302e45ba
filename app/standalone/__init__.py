"""Runs a whole stack on one machine: a private PostgreSQL and Mosquitto, and the supervisor of `vigie up`.

It imports `app.platform` only. The processes that it starts are known by name.
"""
