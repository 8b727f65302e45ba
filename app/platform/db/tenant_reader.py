"""Runs single SELECT statements for the caller of a request, each in one round trip.

A session of SQLAlchemy needs four round trips for one statement, and half a millisecond of CPU time for its
objects. A reader sends the statement alone, outside of a transaction block. Row-level security reads the
caller's scope from settings of the connection, which the reader changes when another caller gets the
connection (`app.platform.kernel.tenant_scope`).

    rows = await reader.fetch(select(Site.id, Site.name).where(…))
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import asyncpg
import msgspec
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect as make_dialect

from app.platform.db.database import Database
from app.platform.db.tenant_scoped_connection import quote_literal
from app.platform.kernel.tenant_scope import current_caller

_DIALECT: Final = make_dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's own lacks types
_STATEMENTS: Final = 500
_NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})
_decode: Final = msgspec.json.Decoder().decode


class FlatRow(asyncpg.Record):
    """A row of a statement: values by position, by name, and as attributes."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the column holds)
        """Return the value of a column."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class ReaderConnection(asyncpg.Connection):
    """A connection that remembers the scope that its settings have."""

    def __init__(self, *args: Any, **named: Any) -> None:  # noqa: ANN401 (asyncpg's own)
        super().__init__(*args, **named)
        self.scope: dict[str, str] | None = None

    async def set_scope(self, scope: dict[str, str]) -> None:
        """Set the scope of the following statements, unless the connection has it."""
        if self.scope == scope:
            return
        # Unknown, until the statement has succeeded.
        self.scope = None
        settings = (f"set_config('{name}', {quote_literal(value)}, false)" for name, value in scope.items())
        await self.execute(f"SELECT {', '.join(settings)}")
        self.scope = scope

    def get_reset_query(self) -> str:
        """Return no statement: nothing is left over after a SELECT, and it would cost a round trip."""
        return ""


class TenantReader:
    """Connections for single statements. Open with `of`, and close when done."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def of(cls, database: Database, *, size: int) -> "TenantReader":
        """Make a reader with at most `size` connections, which connects on demand."""
        return cls(
            await database.reading_pool(
                size=size, connection_class=ReaderConnection, record_class=FlatRow, prepare=_prepare
            )
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def fetch(
        self, statement: "Executable | CompiledStatement", values: Mapping[str, Any] = _NO_VALUES
    ) -> list[FlatRow]:
        """Run a SELECT as the current caller; returns its rows.

        Args:
            statement: the statement. Compiled, it saves its construction at each call.
            values: of its named parameters without a value.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: as for each query.
        """
        if not isinstance(statement, CompiledStatement):
            statement = compile_statement(statement)
        return await self.fetch_text(*statement.bind(values))

    async def fetch_text(self, query: str, arguments: Sequence[Any]) -> list[FlatRow]:
        """Run the text of a SELECT, with `$1`, `$2` …, as the current caller.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: as for each query.
        """
        async with self._pool.acquire(timeout=10) as pooled:
            connection = cast("ReaderConnection", pooled)
            await connection.set_scope(current_caller().scope_settings)
            return cast("list[FlatRow]", await connection.fetch(query, *arguments))


async def _prepare(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        # SQLAlchemy has encoded the values of a statement.
        await connection.set_type_codec(name, encoder=str, decoder=_decode, schema="pg_catalog")


_compiled: Final[OrderedDict[Any, Any]] = OrderedDict()


class CompiledStatement(NamedTuple):
    """A statement in the form that the driver executes.

    Attributes:
        text: with `$1`, `$2` …
        names: the names of these parameters, in order.
        found: values of parameters; others are given at each execution.
        processors: by name, what turns a value into one of the driver.
    """

    text: str
    names: Sequence[str]
    found: Mapping[str, Any]
    processors: Mapping[str, Callable[[Any], Any]]

    def bind(self, values: Mapping[str, Any] = _NO_VALUES) -> tuple[str, list[Any]]:
        """Return the text and the values of its parameters."""
        found = {**self.found, **values} if values else self.found
        processors = self.processors
        return self.text, [
            processors[name](found[name]) if name in processors else found[name] for name in self.names
        ]


def compile_statement(statement: Any) -> CompiledStatement:  # noqa: ANN401 (an Executable)
    """Compile a statement. Statements of the same form are compiled once, as SQLAlchemy's engine does."""
    # SQLAlchemy has no public method for this; a test compares it with the engine's own execution.
    compiled, extracted, given, *_ = statement._compile_w_cache(  # noqa: SLF001
        _DIALECT, compiled_cache=_compiled, column_keys=[], for_executemany=False, schema_translate_map=None
    )
    while len(_compiled) > _STATEMENTS:
        _compiled.popitem(last=False)
    found = compiled.construct_params(given, extracted_parameters=extracted, _check=False)
    text, names, processors = compiled.string, compiled.positiontup, compiled._bind_processors  # noqa: SLF001
    if compiled.post_compile_params:
        # The text has a parameter for each value of an IN.
        expanded = compiled._process_parameters_for_postcompile(found)  # noqa: SLF001
        text, names = expanded.statement, expanded.positiontup
        found = {**found, **expanded.parameters}
        processors = {**processors, **expanded.processors}
    return CompiledStatement(text, tuple(names or ()), found, processors)
