"""Prints what commands report, and ends them with an error."""

from typing import NoReturn

import typer


def fail(error: Exception | str, status: int = 1, command: str = "vigie") -> NoReturn:
    """Print an error, and exit with a status."""
    typer.echo(f"{command}: {str(error) or type(error).__name__}", err=True)
    raise typer.Exit(status) from None


def report_progress(line: str) -> None:
    """Print a line of progress."""
    typer.echo(line, err=True)
