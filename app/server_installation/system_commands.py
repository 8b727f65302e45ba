"""Runs programs of the system: systemctl, psql as the database's superuser, and others."""

import subprocess
from collections.abc import Sequence

from app.standalone.private_postgres import SUPERUSER
from app.standalone.unprivileged_accounts import StandaloneError, find_program

_TIMEOUT_S = 120.0


def run_program(*words: str, text: str | None = None, timeout_s: float = _TIMEOUT_S) -> str:
    """Run a program and return its standard output.

    Args:
        words: The program and its arguments, without secrets: other users see them.
        text: Its standard input.
        timeout_s: Its time limit (s).

    Raises:
        StandaloneError: It is missing, failed or did not end; the message has its last lines.
    """
    path = find_program(words[0])
    if path is None:
        raise StandaloneError(f"`{words[0]}` is missing: run `sh deploy/install.sh --server`")
    try:
        done = subprocess.run(  # noqa: S603 (no shell, and the arguments are ours)
            [str(path), *words[1:]],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise StandaloneError(f"`{' '.join(words)}` did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise StandaloneError(f"`{' '.join(words)}` failed ({done.returncode}):\n  {said}")
    return done.stdout


def read_program_output(*words: str) -> str:
    """Run a program that may fail, and return its standard output; empty if it is missing or hangs."""
    path = find_program(words[0])
    if path is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 (as above)
            [str(path), *words[1:]], capture_output=True, text=True, check=False, timeout=10
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()


def run_sql(port: int, sql: str, *, database: str = "postgres", variables: Sequence[str] = ()) -> list[str]:
    """Run SQL as the superuser through the socket, and return the lines of its result.

    Args:
        port: The port of the cluster.
        sql: The statements. They go through a pipe, so they may contain secrets.
        database: The database.
        variables: Variables of psql, as `name=value`.

    Raises:
        StandaloneError: The database cannot be reached, or refuses a statement.
    """
    options = [word for each in variables for word in ("-v", each)]
    command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options)
    output = run_program(
        *("runuser", "-u", SUPERUSER, "--", *command, "-p", str(port), "-d", database), text=sql
    )
    return output.splitlines()
