"""Composes the processes of Vigie: the only code that knows every room."""
