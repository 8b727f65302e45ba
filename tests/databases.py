"""Fresh, migrated databases for the tests, made ahead and used again.

A copy of the migrated one costs six hundred files, which is more than most tests do themselves. So a database
that comes back is emptied, and given out again if it is then as a new one: nobody is connected to it, its
schema, rights and first rows are the pattern's, and it has not grown. Any other is dropped: a thousand are
fourteen gigabytes of memory.

To look at all tables and at the whole catalogue takes as long as many a test. So that is done for what has
changed since the last look by the server's own counts: of what is written to each table, and of the files
that it is in. Where those counts have begun anew since, all is looked at.
"""

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.standalone.private_postgres import PrivatePostgres

_GROWTH_BYTES = 8 * 2**20  # what is deleted stays as dead rows, over which the next queries go
_PATIENCE_S = 1.0  # backends end a moment after their clients
_LONGEST_S = 20.0
_FIRST_OWN_OID = 16384
_TABLES = """
    SELECT c.oid::regclass::text,
        EXISTS (SELECT FROM _timescaledb_catalog.hypertable h WHERE h.table_name = relname)
    FROM pg_class c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
_SEQUENCES = """
    SELECT c.oid::regclass::text, seqstart, pg_sequence_last_value(c.oid::regclass)
    FROM pg_class c JOIN pg_sequence ON seqrelid = c.oid WHERE relnamespace = 'public'::regnamespace
"""
_MOVED = """
    SELECT seqrelid::regclass::text FROM pg_sequence
    WHERE pg_sequence_last_value(seqrelid::regclass) IS NOT NULL
"""
# The views on these join what each new connection would have to read first.
_OTHERS = """
    SELECT count(*) FROM pg_stat_get_activity(NULL)
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_CATALOGUES = (
    *("pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_index", "pg_namespace"),
    *("pg_policy", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type"),
)
# How often rows were written, and the file: a TRUNCATE is a new one.
_COUNTS = f"""
    SELECT oid::regclass::text, concat_ws(' ', relfilenode, pg_stat_get_tuples_inserted(oid),
        pg_stat_get_tuples_updated(oid), pg_stat_get_tuples_deleted(oid))
    FROM pg_class WHERE relkind = 'r'
        AND (relnamespace = 'public'::regnamespace OR oid = ANY ('{{{",".join(_CATALOGUES)}}}'::regclass[]))
    UNION ALL SELECT '', concat_ws(' ', pg_postmaster_start_time(), pg_stat_get_db_stat_reset_time(oid),
        pg_stat_get_bgwriter_stat_reset_time())
    FROM pg_database WHERE datname = current_database()
"""  # noqa: S608 (ours)
# Generated columns cannot be written.
_INSERTED = """
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
# The rows of a hypertable are in others.
_CHUNKED = """
    SELECT DISTINCT h.table_name::text FROM _timescaledb_catalog.hypertable h
    JOIN _timescaledb_catalog.chunk c ON c.hypertable_id = h.id WHERE h.schema_name = 'public'
"""
_OWN_SETTINGS = """
    SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
    WHERE datname = current_database()
    UNION ALL
    SELECT hashtextextended(concat_ws('|', datallowconn, datconnlimit, datacl::text), 0)
    FROM pg_database WHERE datname = current_database()
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
    )
)


@dataclass(frozen=True)
class _Pattern:
    """What a new database has, and how to find what is in one besides."""

    hypertables: frozenset[str]
    first_rows: dict[str, str]  # table → its rows as JSON, of those that are not empty
    columns: dict[str, str]  # table → the columns of these rows that are not generated
    sequences: dict[str, str]  # sequence → the call that sets it back
    schema: list[object]
    settings: list[object]
    bytes: int
    checks: dict[str, str]  # table → a query that gives its name where its content is another

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> "_Pattern":
        tables: dict[str, bool] = {name: hyper for name, hyper in await connection.fetch(_TABLES)}  # noqa: C416
        first_rows, columns, checks = {}, {}, {}
        for table in tables:
            rows = await connection.fetchval(f"SELECT json_agg(t)::text FROM {table} t")  # noqa: S608
            if rows is None:
                checks[table] = f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})"  # noqa: S608
                continue
            first_rows[table] = rows
            columns[table] = await connection.fetchval(_INSERTED, table)
            mark = f"(SELECT sum(hashtextextended(t::text, 0)::numeric) FROM {table} t)"  # noqa: S608
            usual = await connection.fetchval(f"SELECT {mark}")
            checks[table] = f"SELECT '{table}' WHERE {mark} IS DISTINCT FROM {usual}"  # noqa: S608
        sequences = {}
        for name, start, last in await connection.fetch(_SEQUENCES):
            value, called = (start, "false") if last is None else (last, "true")
            sequences[name] = f"SELECT setval('{name}', {value}, {called})"
        return cls(
            hypertables=frozenset(table for table, hyper in tables.items() if hyper),
            first_rows=first_rows,
            columns=columns,
            sequences=sequences,
            schema=await _column(connection, _SCHEMA),
            settings=await _column(connection, _OWN_SETTINGS),
            bytes=await connection.fetchval("SELECT pg_database_size(current_database())"),
            checks=checks,
        )

    async def differing(self, connection: asyncpg.Connection, tables: Iterable[str]) -> list[str]:
        """Those of the tables whose content is not the pattern's."""
        checks = [self.checks[table] for table in tables]
        return await _column(connection, "\nUNION ALL ".join(checks)) if checks else []


type _Counts = dict[str, str]
"""What the server counted of each table (`_COUNTS`), under the empty name since when."""


class Databases:
    """Gives databases of one pattern out, and takes them back. `stock` runs beside the tests.

    Args:
        server: Theirs.
        name: The pattern's, a database by itself that nobody may be connected to.
    """

    def __init__(self, server: PrivatePostgres, name: str) -> None:
        self._server = server
        self._name = name
        self._shelf: asyncio.Queue[str] = asyncio.Queue(maxsize=2)
        self._back: list[str] = []
        self._pattern: _Pattern | None = None
        self._counts: dict[str, _Counts] = {}  # address → those of when it was clean the last time

    async def take(self) -> str:
        """The address of a database that is as a new one."""
        return await self._shelf.get()

    def give_back(self, url: str) -> None:
        """Hand in a database that a test is done with."""
        self._back.append(url)

    async def stock(self) -> None:
        """Fill the shelf while tests run, for ever."""
        while True:
            try:
                # Whatever it waits for then: the next try begins anew.
                async with asyncio.timeout(_LONGEST_S):
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
            await self._drop(url)
        return await self._server.create_database(f"test_{uuid.uuid4().hex[:12]}", template=self._name)

    async def clean(self, url: str) -> bool:
        """Make a database as new; False where that cannot be."""
        before = self._counts.pop(url, {})
        try:
            async with asyncio.timeout(10):
                if self._pattern is None:
                    self._pattern = await self._look()
                connection = await self._connect(url)
                try:
                    if not (
                        await _is_alone(connection) and await _restore(connection, self._pattern, before)
                    ):
                        return False
                    # What this connection itself has done is not counted before.
                    await connection.execute("SELECT pg_stat_force_next_flush()")
                    self._counts[url] = await _counted(connection)
                finally:
                    # Nobody bounds this where the time above is up: the server may have no answer.
                    await connection.close(timeout=_PATIENCE_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _drop(self, url: str) -> None:
        connection = await asyncpg.connect(self._server.superuser_url, timeout=10)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')
        finally:
            await connection.close(timeout=_PATIENCE_S)

    async def _look(self) -> _Pattern:
        """Read the pattern from a copy: whoever is connected to it itself would be thrown out."""
        url = await self._server.create_database(f"{self._name}_seen", template=self._name)
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


async def _column(connection: asyncpg.Connection, query: str) -> list[Any]:
    return [value for (value,) in await connection.fetch(query)]


async def _counted(connection: asyncpg.Connection) -> _Counts:
    return {name: count for name, count in await connection.fetch(_COUNTS)}  # noqa: C416


async def _is_alone(connection: asyncpg.Connection) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while await connection.fetchval(_OTHERS):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True


async def _restore(connection: asyncpg.Connection, pattern: _Pattern, before: _Counts) -> bool:
    """Remove what is not the pattern's; whether that is all.

    A backend tells its counts before it ends: where nobody is connected, they are complete.
    """
    now = await _counted(connection)
    known = before if before.get("") == now[""] else {}
    written = [table for table in pattern.checks if known.get(table) != now.get(table)]
    chunked = await _column(connection, _CHUNKED)
    dirty = await pattern.differing(connection, {*written, *chunked})
    statements = []
    for table in dirty:
        # Of a hypertable, the chunks go too.
        statements.append(f"TRUNCATE {table}" if table in pattern.hypertables else f"DELETE FROM {table}")  # noqa: S608
        if rows := pattern.first_rows.get(table):
            text = rows.replace("'", "''")
            # Of a column that only the database may number, too.
            columns = pattern.columns[table]
            values = f"SELECT {columns} FROM json_populate_recordset(null::{table}, '{text}')"  # noqa: S608
            statements.append(f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE {values}")
    # TimescaleDB has some of its own, which stay.
    moved = await _column(connection, _MOVED)
    statements += [back for name, back in pattern.sequences.items() if name in moved]
    if statements:
        await connection.execute(";\n".join(statements))
    if await pattern.differing(connection, dirty):
        return False
    altered = any(known.get(name) != now[name] for name in _CATALOGUES)
    if altered and await _column(connection, _SCHEMA) != pattern.schema:
        return False
    if await _column(connection, _OWN_SETTINGS) != pattern.settings:
        return False
    size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
    return size <= pattern.bytes + _GROWTH_BYTES
