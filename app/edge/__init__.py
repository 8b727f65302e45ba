"""Hands the messages of one broker on to the replicated log, and keeps that broker's accounts and configurations."""
