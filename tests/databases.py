"""Fresh, migrated databases for the tests, made ahead and used again.

A copy of the migrated one costs six hundred files, which is more than most tests do themselves. So a database
that comes back is emptied, and given out again if it is then as a new one: nobody is connected to it, its
schema, rights and first rows are the pattern's, and it has not grown. Any other stays where it is, and goes
with the server.
"""

import asyncio
import uuid
from dataclasses import dataclass

import asyncpg

from app.embedded.postgres import PrivatePostgres

PATTERN = "pattern"
_GROWTH_BYTES = 8 * 2**20  # what is deleted stays as dead rows, over which the next queries go
_PATIENCE_S = 1.0  # backends end a moment after their clients
_FIRST_OWN_OID = 16384
_TABLES = """
    SELECT c.oid::regclass::text,
        EXISTS (SELECT FROM _timescaledb_catalog.hypertable h WHERE h.table_name = relname)
    FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
_SEQUENCES = """
    SELECT schemaname, sequencename, start_value, last_value FROM pg_sequences WHERE schemaname = 'public'
"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def _marks(catalogue: str, key: str, *what: str, where: str = "true") -> str:
    """A query for a number that changes when a row of a system catalogue comes, goes or changes."""
    values = ", ".join(what) or "xmin::text"
    return (
        f"SELECT sum(hashtextextended(concat_ws('|', {key}, {values}), 0)::numeric)"  # noqa: S608 (ours)
        f" FROM {catalogue} WHERE {key} >= {_FIRST_OWN_OID} AND {where}"
    )


# Statistics and a TRUNCATE change rows of `pg_class` too: of those, what a schema is.
_CLASS = ("relname", "relnamespace", "relkind", "relowner", "relacl::text", "reloptions::text")
_SCHEMA = "\nUNION ALL ".join(
    (
        _marks("pg_class", "oid", *_CLASS, "relrowsecurity", "relforcerowsecurity"),
        *(_marks(f"pg_{name}", "oid") for name in ("attrdef", "constraint", "policy", "proc", "rewrite")),
        *(_marks(f"pg_{name}", "oid") for name in ("trigger", "type")),
        _marks("pg_attribute", "attrelid", "attnum", "xmin::text"),
        _marks("pg_index", "indexrelid"),
        # Those of temporary tables stay when the tables go.
        _marks("pg_namespace", "oid", where="nspname !~ '^pg_'"),
        """
        SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()
        """,
        """
        SELECT hashtextextended(concat_ws('|', datallowconn, datconnlimit, datacl::text), 0)
        FROM pg_database WHERE datname = current_database()
        """,
    )
)


@dataclass(frozen=True)
class _Pattern:
    """What a new database has, and how to find what is in one besides."""

    hypertables: frozenset[str]
    first_rows: dict[str, str]  # table → its rows as JSON, of those that are not empty
    sequences: dict[str, str]  # sequence → the call that sets it back
    schema: list[object]
    bytes: int
    query: str  # the tables whose content is another

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> "_Pattern":
        tables: dict[str, bool] = {name: hyper for name, hyper in await connection.fetch(_TABLES)}  # noqa: C416
        first_rows, parts = {}, []
        for table in tables:
            rows = await connection.fetchval(f"SELECT json_agg(t)::text FROM {table} t")  # noqa: S608
            if rows is None:
                parts.append(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})")  # noqa: S608
                continue
            first_rows[table] = rows
            mark = f"(SELECT sum(hashtextextended(t::text, 0)::numeric) FROM {table} t)"  # noqa: S608
            usual = await connection.fetchval(f"SELECT {mark}")
            parts.append(f"SELECT '{table}' WHERE {mark} IS DISTINCT FROM {usual}")  # noqa: S608
        sequences = {}
        for schema, name, start, last in await connection.fetch(_SEQUENCES):
            value, called = (start, "false") if last is None else (last, "true")
            sequences[name] = f"SELECT setval('{schema}.{name}', {value}, {called})"
        return cls(
            hypertables=frozenset(table for table, hyper in tables.items() if hyper),
            first_rows=first_rows,
            sequences=sequences,
            schema=[mark for (mark,) in await connection.fetch(_SCHEMA)],
            bytes=await connection.fetchval("SELECT pg_database_size(current_database())"),
            query="\nUNION ALL ".join(parts),
        )


class Databases:
    """Gives databases out, and takes them back. `stock` runs beside the tests."""

    def __init__(self, server: PrivatePostgres) -> None:
        self._server = server
        self._shelf: asyncio.Queue[str] = asyncio.Queue(maxsize=2)
        self._back: list[str] = []
        self._pattern: _Pattern | None = None

    async def take(self) -> str:
        """The address of a database that is as a new one."""
        return await self._shelf.get()

    def give_back(self, url: str) -> None:
        """Hand in a database that a test is done with."""
        self._back.append(url)

    async def stock(self) -> None:
        """Fill the shelf while tests run, for ever."""
        # A copy is copied, for while it is nobody may connect to it: tests do connect to the original.
        await self._server.create_database(PATTERN)
        while True:
            try:
                made = await self._next()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # Some tests stop the server. What cannot be made in the end, a fixture waits for in vain.
                await asyncio.sleep(0.2)
            else:
                await self._shelf.put(made)

    async def _next(self) -> str:
        while self._back:
            url = self._back.pop()
            if await self.clean(url):
                return url
        return await self._server.create_database(f"test_{uuid.uuid4().hex[:12]}", template=PATTERN)

    async def clean(self, url: str) -> bool:
        """Make a database as new; False where that cannot be."""
        try:
            async with asyncio.timeout(10):
                if self._pattern is None:
                    self._pattern = await self._look()
                connection = await self._connect(url)
                try:
                    return await _is_alone(connection) and await _restore(connection, self._pattern)
                finally:
                    await connection.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    async def _look(self) -> _Pattern:
        """Read the pattern from a copy: whoever is connected to it itself would be thrown out."""
        url = await self._server.create_database("pattern_seen", template=PATTERN)
        connection = await self._connect(url)
        try:
            return await _Pattern.of(connection)
        finally:
            await connection.close()

    async def _connect(self, url: str) -> asyncpg.Connection:
        address = self._server.superuser_url.rpartition("/")[0] + "/" + url.rpartition("/")[2]
        # Neither triggers nor foreign keys: what is removed is removed whatever the tables think of it.
        return await asyncpg.connect(
            address, timeout=10, server_settings={"session_replication_role": "replica"}
        )


async def _is_alone(connection: asyncpg.Connection) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while await connection.fetchval(_OTHERS):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True


async def _restore(connection: asyncpg.Connection, pattern: _Pattern) -> bool:
    statements = []
    for (table,) in await connection.fetch(pattern.query):
        # Of a hypertable, the chunks go too.
        statements.append(f"TRUNCATE {table}" if table in pattern.hypertables else f"DELETE FROM {table}")  # noqa: S608
        if rows := pattern.first_rows.get(table):
            text = rows.replace("'", "''")
            statements.append(
                f"INSERT INTO {table} SELECT * FROM json_populate_recordset(null::{table}, '{text}')"  # noqa: S608
            )
    for _, name, _, last in await connection.fetch(_SEQUENCES):
        if last is not None:
            statements.append(pattern.sequences[name])
    if statements:
        await connection.execute(";\n".join(statements))
    if await connection.fetch(pattern.query):
        return False
    schema = [mark for (mark,) in await connection.fetch(_SCHEMA)]
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    return schema == pattern.schema and size <= pattern.bytes + _GROWTH_BYTES
