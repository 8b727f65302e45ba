"""Backs up the database with pgBackRest, restores it to a moment, and verifies backups by restoring them.

Encryption keys, the broker's accounts and settings are sealed for the recovery key and stored in the
database, so that each backup has them. The recovery key is not stored on the machine.
"""
