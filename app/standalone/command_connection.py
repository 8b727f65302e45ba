"""A command's connection to the database; where there is none, at which address, and what to check.

Owns those words. They never show a password, nor whatever else of an address could be a part of one.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from app.platform.config.settings import DatabaseSettings
from app.platform.db.database import Database
from app.standalone.database_logins import CONNECTION_ERRORS
from app.standalone.service_accounts import StandaloneError

_PORT: Final = "5432"
_PLACE: Final = re.compile(r"/.*|(\[[^\]]+\]|[^:\[\]]+):\d+")
_UNNAMED: Final = "the address in VIGIE_DATABASE__URL"


@asynccontextmanager
async def connect_for_command(
    settings: DatabaseSettings, *, application: str, role: str | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the settings say; the other arguments are those of `Database`.

    Raises:
        EmbeddedError: There is none to be had.
    """
    try:
        database = Database(settings, application=application, role=role)
        connection = await database.connect()
    except (*CONNECTION_ERRORS, SQLAlchemyError) as error:
        raise StandaloneError(
            f"the database at {format_host_port(settings.url)} cannot be reached: {_reason(error)}. Check "
            f"that "
            "PostgreSQL runs there, and that VIGIE_DATABASE__URL (or --data-dir) names it, with its account"
        ) from None
    try:
        yield connection
    finally:
        await connection.close()
        await database.close()


def format_host_port(url: str) -> str:
    """The `host:port` of an address; of several all of them."""
    parts = urlsplit(url)
    # A password with a `/`, `?` or `#` that was not written as %2F and so on: its rest is no host.
    if "@" in parts.path + parts.query + parts.fragment:
        return _UNNAMED
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", [os.environ.get("PGHOST", "")])[-1]
    port = query.get("port", [os.environ.get("PGPORT", _PORT)])[-1]
    places = [_with_port(host, port) for host in hosts.split(",")]
    # In `postgresql://user:password`, where the host was forgotten, the password stands for the port.
    return ", ".join(places) if all(map(_PLACE.fullmatch, places)) else _UNNAMED


def _with_port(host: str, port: str) -> str:
    # In `[::1]:5432` the colons before the bracket are the host's own; a socket is a folder.
    return host if ":" in host.rpartition("]")[2] or host.startswith("/") else f"{host}:{port}"


def _reason(error: BaseException) -> str:
    """What was wrong, without the error's own text where the address could be in there."""
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # A port that is no number, above all: the text of it quotes the address.
    return "the address is not well-formed" if isinstance(error, ValueError) else type(error).__name__
