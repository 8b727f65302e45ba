"""Installs Vigie on a server (`vigie install --server`), and examines that server for `vigie doctor`.

A step compares the machine with the desired state and lists the changes that it needs. The installer applies
them. A second run therefore finds none, and `--dry-run` prints them without applying any.
"""
