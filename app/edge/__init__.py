"""Hands the messages of a broker on to the replicated log; keeps its accounts and configurations."""
