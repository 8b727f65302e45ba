"""Writes items to a table of a client's PostgreSQL or TimescaleDB.

A batch is copied into a temporary table and inserted from there in one transaction. A row that exists gets
the values that come again or that it lacks: of another subscription, of a metric that was added to the
filter, or after a correction. The table is created if it is missing, and gets the columns of new metrics. Its
primary key is the item's id with its time, so it can be a hypertable.
"""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg
import msgspec

from app.catalogue.metrics import COLUMNS
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.measurement_stream.sinks.guarded_addresses import ServerAddress, make_tls_context
from app.measurement_stream.sinks.sink_types import REFUSED, ConnectedSink, SinkConfig, SinkError
from app.platform.kernel.instants import to_datetime

_COLUMNS: Final = {
    "id": "text NOT NULL",
    "time": "timestamptz NOT NULL",
    "kind": "text NOT NULL",
    "organisation_id": "uuid NOT NULL",
    "site_id": "uuid NOT NULL",
    "box": "text NOT NULL",
    "seq": "bigint",
    "late": "text[]",
    "detail": "jsonb",
}
_STAGING: Final = "vigie_staging"
_EXISTING: Final = (
    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
)
_LOCK_TIMEOUT: Final = "2s"
_LOGIN_CLASS: Final = "28"


def quote_identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def build_table_statement(table: str, metrics: Sequence[str], existing: Collection[str]) -> str | None:
    """Build the statement that creates a table, or adds the columns that it lacks; None: it has them.

    Args:
        table: The table with its schema, quoted.
        metrics: The metrics that it should have.
        existing: Its columns; empty: there is no table.
    """
    if not existing:
        types = _COLUMNS | dict.fromkeys(metrics, "double precision")
        columns = ", ".join(f"{name} {type_}" for name, type_ in types.items())
        return f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY (id, time))"
    added = [
        f"ADD COLUMN IF NOT EXISTS {metric} double precision" for metric in metrics if metric not in existing
    ]
    return f"ALTER TABLE {table} {', '.join(added)}" if added else None


# Subscriptions with different metrics write parts of one item.
_MERGED: Final = {
    "late": "nullif(kept.late || ARRAY(SELECT metric FROM unnest(excluded.late) AS metric "
    "WHERE metric <> ALL(coalesce(kept.late, '{}'))), '{}')",
    "detail": "CASE WHEN kept.detail ? 'metrics' AND excluded.detail ? 'metrics' "
    "THEN kept.detail || excluded.detail || jsonb_build_object("
    "'metrics', (kept.detail -> 'metrics') || (excluded.detail -> 'metrics')) "
    "ELSE coalesce(excluded.detail, kept.detail) END",
}
_KEY: Final = ("id", "time")


def build_upsert_statement(table: str, columns: Sequence[str]) -> str:
    """Build the statement that writes the staged rows; a row that exists changes only where it differs.

    Args:
        table: The table with its schema, quoted.
        columns: Its columns.
    """
    listed = ", ".join(columns)
    newest = {
        name: _MERGED.get(name, f"coalesce(excluded.{name}, kept.{name})")
        for name in columns
        if name not in _KEY
    }
    assigned = ", ".join(f"{name} = {value}" for name, value in newest.items())
    present = ", ".join(f"kept.{name}" for name in newest)
    return (
        f"INSERT INTO {table} AS kept ({listed}) SELECT {listed} FROM {_STAGING} "  # noqa: S608 (quoted names)
        f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {assigned} "
        f"WHERE ({present}) IS DISTINCT FROM ({', '.join(newest.values())})"
    )


class PostgresqlSink(ConnectedSink):
    """Writes batches to a table.

    Args:
        config: `target`: `server`, `tls`, `ca_certificate`, `database`, `username`, `schema_name`, `table`;
            `credentials`: `password`.
        timeout_s: The longest that an attempt takes.
        allow_private: Whether private addresses are allowed.
    """

    errors = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

    def __init__(self, config: SinkConfig, timeout_s: float, *, allow_private: bool) -> None:
        super().__init__(config, timeout_s, allow_private=allow_private)
        self._metrics = COLUMNS if config.metrics is None else config.metrics
        schema, table = config.target["schema_name"], config.target["table"]
        self._table = f"{quote_identifier(schema)}.{quote_identifier(table)}"
        self._connection: asyncpg.Connection | None = None

    async def deliver(self, batch: MeasurementBatch) -> None:
        """Write a batch in one transaction."""
        connection = await self._connect()
        columns = [*_COLUMNS, *self._metrics]
        async with connection.transaction():
            await connection.copy_records_to_table(
                _STAGING, records=[self._row(item) for item in batch.items], columns=columns
            )
            await connection.execute(build_upsert_statement(self._table, columns))

    def _row(self, item: Item) -> tuple[object, ...]:
        detail = None if item.detail is None else msgspec.json.encode(item.detail).decode()
        return (
            *(item.id, to_datetime(item.time_us), item.kind, item.organisation_id, item.site_id, item.box),
            *(item.seq, list(item.late) or None, detail),
            *(item.values.get(metric) for metric in self._metrics),
        )

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        target = self.config.target
        server = ServerAddress.parse(target["server"])
        ca = target.get("ca_certificate")
        connection = await asyncpg.connect(
            host=await self.resolve(server),
            port=server.port,
            database=target["database"],
            user=target["username"],
            password=self.config.credentials.get("password", ""),
            ssl=make_tls_context(server, self.answers, ca) if target["tls"] else "disable",
            timeout=self.timeout_s,
            server_settings={"application_name": "vigie"},
        )
        self._connection = connection
        await self._complete_table(connection)
        await connection.execute(
            f"CREATE TEMPORARY TABLE {_STAGING} ON COMMIT DELETE ROWS AS "  # noqa: S608 (quoted names)
            f"SELECT {', '.join((*_COLUMNS, *self._metrics))} FROM {self._table} LIMIT 0"
        )
        return connection

    async def _complete_table(self, connection: asyncpg.Connection) -> None:
        found = await connection.fetch(_EXISTING, self._table)
        statement = build_table_statement(self._table, self._metrics, [row["attname"] for row in found])
        if statement is not None:
            async with connection.transaction():
                # Who waits for the lock of ALTER TABLE makes the table's other users wait too.
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                await connection.execute(statement)

    def describe(self, error: Exception) -> SinkError:
        """Tell a refusal of the server from a lost connection."""
        state = getattr(error, "sqlstate", None)
        if isinstance(error, asyncpg.PostgresError) and state is not None:
            reason = "login_refused" if state.startswith(_LOGIN_CLASS) else REFUSED
            # Its DETAIL would show values of the row.
            return SinkError(reason, f"{state}: {error.args[0]}")
        return super().describe(error)

    async def disconnect(self) -> None:
        """Close the connection without a farewell, which also ends what waits for its answers."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
