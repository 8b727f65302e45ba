"""Connects a command to the database, and explains a failure without secrets.

Messages name the host and port, but never show a password or other parts of the address that could contain
one.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Database
from app.standalone.login_privilege_reader import CONNECTION_ERRORS
from app.standalone.unprivileged_accounts import StandaloneError

_PORT: Final = "5432"
_HOST_AND_PORT: Final = re.compile(r"/.*|(\[[^\]]+\]|[^:\[\]]+):\d+")
_UNNAMED: Final = "the address in VIGIE_DATABASE__URL"


@asynccontextmanager
async def connect_for_command(
    settings: DatabaseSettings, *, application: str, role: str | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """Connect as the settings say; the other arguments are those of `Database`.

    Raises:
        StandaloneError: The database cannot be reached.
    """
    try:
        database = Database(settings, application=application, role=role)
        connection = await database.connect()
    except (*CONNECTION_ERRORS, SQLAlchemyError) as error:
        raise StandaloneError(
            f"the database at {format_host_port(settings.url)} cannot be reached: {_reason(error)}. "
            "Check that PostgreSQL runs there, and that VIGIE_DATABASE__URL (or --data-dir) names it, "
            "with its account"
        ) from None
    try:
        yield connection
    finally:
        await connection.close()
        await database.close()


def format_host_port(url: str) -> str:
    """Return the `host:port` of a database address, or of all its hosts."""
    parts = urlsplit(url)
    # A password with an unescaped `/`, `?` or `#`: the text after it is not a host.
    if "@" in parts.path + parts.query + parts.fragment:
        return _UNNAMED
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", [os.environ.get("PGHOST", "")])[-1]
    port = query.get("port", [os.environ.get("PGPORT", _PORT)])[-1]
    addresses = [_with_port(host, port) for host in hosts.split(",")]
    # In `postgresql://user:password`, without a host, the password would be read as the port.
    return ", ".join(addresses) if all(map(_HOST_AND_PORT.fullmatch, addresses)) else _UNNAMED


def _with_port(host: str, port: str) -> str:
    # In `[::1]:5432` the colons before the bracket belong to the host; a socket is a folder.
    return host if ":" in host.rpartition("]")[2] or host.startswith("/") else f"{host}:{port}"


def _reason(error: BaseException) -> str:
    """Return the cause of an error, without its text if that could contain the address."""
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # For example an invalid port, whose error text quotes the address.
    return "the address is not well-formed" if isinstance(error, ValueError) else type(error).__name__
