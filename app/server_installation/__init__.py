"""Installs Vigie on a server (`vigie install --server`), and examines that server for `vigie doctor`.

A step finds what differs from the wanted state as a list of changes, and the installer applies them. A second
run therefore finds none, and `--dry-run` prints them without applying any.
"""
