"""Composes the processes of Vigie. Only this room may import all others."""
