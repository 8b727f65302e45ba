"""Opens sealed values of a restored copy with the keys of a restore or of `maintain`.

A verification may run under PostgreSQL's account, which must not have the encryption keys. It then writes the
sealed values into a table of the live database, and `maintain` opens them.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from app.backups.backup_target import BackupError
from app.platform.secrets.sealed_columns import SEALED, SealedColumn
from app.platform.secrets.sealing import SEALED_PREFIX, SealingError, SecretSealer

_PER_KEY: Final = 3
_WAIT_S: Final = 90.0
_POLL_S: Final = 1.0
_COLUMNS: Final = {column.name: column for column in SEALED}

type SealedValue = Mapping[str, Any]
"""`column`, `key` (of the row, as texts) and `stored`."""


async def sample_sealed_values(connection: asyncpg.Connection) -> list[SealedValue]:
    """Read up to three values of each encrypted column and each key."""
    found: list[SealedValue] = []
    for column in SEALED:
        rows = await connection.fetch(_sample(column), SEALED_PREFIX, _PER_KEY)
        found += [{"column": column.name, "key": list(row["key"]), "stored": row["value"]} for row in rows]
    return found


def _sample(column: SealedColumn) -> str:
    key = ", ".join(f"{name}::text" for name in column.key)
    if column.member is None:
        values = f"SELECT ARRAY[{key}] AS key, {column.column} AS value FROM {column.table}"  # noqa: S608 (names of SEALED)
    else:
        values = (
            f"SELECT ARRAY[{key}] AS key, item ->> '{column.member}' AS value FROM {column.table}, "  # noqa: S608 (names of SEALED)
            f"jsonb_array_elements({column.column}) AS item"
        )
    return (
        "SELECT key, value FROM (SELECT key, value, row_number() OVER ("  # noqa: S608 (names of SEALED)
        f"PARTITION BY split_part(value, ':', 3) ORDER BY key) AS number FROM ({values}) AS found "
        "WHERE starts_with(value, $1)) AS numbered WHERE number <= $2"
    )


def open_sealed_values(values: Sequence[SealedValue], sealer: SecretSealer) -> list[str]:
    """Open values; returns one line for each that cannot be opened, without its content."""
    failures = []
    for each in values:
        column = _COLUMNS.get(each["column"])
        if column is None:
            failures.append(f"{each['column']}: this release has no such column")
            continue
        try:
            column.open(sealer, each["stored"], *each["key"])
        except SealingError as error:
            failures.append(f"{column.name} of {','.join(each['key'])}: {error}")
    return failures


async def request_value_check(connection: asyncpg.Connection, values: Sequence[SealedValue]) -> list[str]:
    """Have `maintain` of the live installation open values; returns its failures.

    Raises:
        BackupError: it did not answer.
    """
    request = uuid.uuid4()
    await connection.execute(
        "INSERT INTO sealed_value_checks (id, requested_at, sealed_values) VALUES ($1, now(), $2)",
        request,
        json.dumps(list(values)),
    )
    until = time.monotonic() + _WAIT_S
    try:
        while time.monotonic() < until:
            row = await connection.fetchrow(
                "SELECT failures FROM sealed_value_checks WHERE id = $1 AND answered_at IS NOT NULL", request
            )
            if row is not None:
                return list(row["failures"])
            await asyncio.sleep(_POLL_S)
    finally:
        await connection.execute("DELETE FROM sealed_value_checks WHERE id = $1", request)
    raise BackupError(
        f"`vigie maintain` did not open the sealed values within {_WAIT_S:g} s. Check that it runs with "
        "VIGIE_BACKUP__RECOVERY_KEY, or verify with --recovery-key FILE"
    )


async def answer_value_checks(connection: asyncpg.Connection, sealer: SecretSealer) -> int:
    """Open the values of pending requests in `maintain`; returns the number of requests."""
    rows = await connection.fetch(
        "SELECT id, sealed_values FROM sealed_value_checks WHERE answered_at IS NULL"
    )
    for row in rows:
        failures = open_sealed_values(json.loads(row["sealed_values"]), sealer)
        await connection.execute(
            "UPDATE sealed_value_checks SET answered_at = now(), failures = $2 WHERE id = $1",
            row["id"],
            failures,
        )
    await connection.execute("DELETE FROM sealed_value_checks WHERE requested_at < now() - interval '1 day'")
    return len(rows)
