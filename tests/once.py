"""What a process of the tests does once instead of for each test, though each has an application of its own.

Owns what is the same whichever database of the tests' server is asked: PostgreSQL's own types, and the SQL
that a statement of the program becomes. Must not answer anything that depends on what is in a database.
"""

from typing import Any, Final

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from app.platform.db import database

_FIRST_OWN_OID: Final = 16384
# Neither has types for what is theirs alone.
_connections: Final[Any] = asyncpg.Connection
_dialects: Final[Any] = PGDialect_asyncpg
_database: Final[Any] = database
_look_up: Final = _connections._introspect_types
_types: Final[dict[frozenset[int], Any]] = {}
_statements: Final[LRUCache[Any, Any]] = LRUCache(5_000)


async def _types_of(connection: asyncpg.Connection, oids: set[int], timeout: float | None) -> Any:  # noqa: ANN401, ASYNC109 (asyncpg's own)
    """What asyncpg asks on each new connection about arrays; those of the server's own types never change."""
    if max(oids) >= _FIRST_OWN_OID:
        return await _look_up(connection, oids, timeout)
    key = frozenset(oids)
    if key not in _types:
        _types[key] = await _look_up(connection, oids, timeout)
    return _types[key]


def _engine(url: str, **options: Any) -> AsyncEngine:  # noqa: ANN401 (SQLAlchemy's own)
    made = create_async_engine(url, **options)
    made.sync_engine._compiled_cache = _statements
    return made


def share() -> None:
    """Have all connections and engines of this process share these, from now on."""
    _connections._introspect_types = _types_of
    _database.create_async_engine = _engine
    # All engines speak to the same server: what is compiled for one serves another.
    _dialects.__eq__ = lambda one, other: type(one) is type(other)
    _dialects.__hash__ = lambda one: hash(type(one))
