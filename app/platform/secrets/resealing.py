"""Re-encrypts stored secrets with the newest key, and encrypts those still stored in plain text.

Goes through the columns of `sealed_columns`, and counts values by key. It never loses a value: one that
cannot be decrypted stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.platform.db.database import RawConnection
from app.platform.observability.metrics_and_logs import SECRETS_TO_SEAL, get_logger
from app.platform.secrets.sealed_columns import SEALED, SealedColumn
from app.platform.secrets.sealing import SEALED_PREFIX, SealingError, SecretSealer

_log = get_logger(__name__)
_BATCH_ROWS: Final = 200
_NO_KEY: Final = "sealed:0:"  # matches no value


@dataclass(frozen=True, slots=True)
class SealingKeyUsage:
    """How many values of a column are encrypted with one key.

    Attributes:
        column: `table.column`.
        key: the key's name; None: the values are in clear.
        values: their number.
    """

    column: str
    key: str | None
    values: int


async def count_sealed_values(
    connection: RawConnection, columns: Sequence[SealedColumn] = SEALED
) -> list[SealingKeyUsage]:
    """Count the values of each column by key."""
    found = []
    for column in columns:
        rows = await connection.fetch(
            f"SELECT CASE WHEN starts_with(value, $1) THEN split_part(value, ':', 3) END AS key, "  # noqa: S608 (names of SEALED)
            f"count(*) AS values FROM ({_values(column)}) AS found GROUP BY 1 ORDER BY 1",
            SEALED_PREFIX,
        )
        found += [SealingKeyUsage(column.name, row["key"], row["values"]) for row in rows]
    return found


def _values(column: SealedColumn) -> str:
    if column.member is None:
        return f"SELECT {column.column} AS value FROM {column.table} WHERE {column.column} IS NOT NULL"  # noqa: S608 (names of SEALED)
    return (
        f"SELECT item ->> '{column.member}' AS value FROM {column.table}, "  # noqa: S608 (names of SEALED)
        f"jsonb_array_elements({column.column}) AS item"
    )


class SecretResealer:
    """Encrypts secrets under the newest key, and logs each failure once.

    Args:
        sealer: With all keys.
        columns: The columns to process.
    """

    def __init__(self, sealer: SecretSealer, columns: Sequence[SealedColumn] = SEALED) -> None:
        self._sealer = sealer
        self._columns = columns
        self._logged: set[tuple[str, str]] = set()

    async def reseal_due(self, connection: RawConnection) -> int:
        """Encrypt all values that are due, in batches; publish and return how many are left.

        Args:
            connection: Outside a transaction.
        """
        current = self._sealer.current or _NO_KEY
        for column in self._columns:
            last: tuple[Any, ...] | None = ()
            while last is not None:
                async with connection.transaction():
                    last = await self._process_batch(connection, column, last, current)
        name = current.removeprefix(SEALED_PREFIX).removesuffix(":")
        left = sum(
            use.values for use in await count_sealed_values(connection, self._columns) if use.key != name
        )
        SECRETS_TO_SEAL.set(left)
        return left

    async def _process_batch(
        self, connection: RawConnection, column: SealedColumn, after: tuple[Any, ...], current: str
    ) -> tuple[Any, ...] | None:
        """Process the next batch; return the key of its last row, None after the last batch."""
        rows = await connection.fetch(_due(column, beginning=not after), current, _BATCH_ROWS, *after)
        for row in rows:
            key = tuple(row[name] for name in column.key)
            stored = row["stored"]
            resealed = self._reseal(column, stored, key)
            if resealed != stored:
                await connection.execute(_write(column), resealed, *key)
        return tuple(rows[-1][name] for name in column.key) if len(rows) == _BATCH_ROWS else None

    def _reseal(self, column: SealedColumn, stored: str, key: tuple[Any, ...]) -> str:
        """Return the value to store."""
        if column.member is None:
            return self._try(column, stored, key)
        before = msgspec.json.decode(stored)
        after = [{**item, column.member: self._try(column, item[column.member], key)} for item in before]
        return stored if after == before else msgspec.json.encode(after).decode()

    def _try(self, column: SealedColumn, stored: str, key: tuple[Any, ...]) -> str:
        """Encrypt the value again; return it unchanged where it cannot be decrypted or there is no key."""
        try:
            return column.reseal(self._sealer, stored, *key)
        except SealingError as error:
            row = ",".join(map(str, key))
            if (column.table, row) not in self._logged:
                self._logged.add((column.table, row))
                _log.warning("secret_not_sealed", column=column.name, row=row, error=str(error))
            return stored


def _due(column: SealedColumn, *, beginning: bool) -> str:
    """Return SQL for rows that are not all under the first key ($1): at most $2, after the key $3 ….

    Locks do not block references to the rows. Rows that are being changed are skipped until the next run.
    """
    key = ", ".join(column.key)
    placeholders = ", ".join(f"${number}" for number in range(3, 3 + len(column.key)))
    after = "" if beginning else f"AND ({key}) > ({placeholders}) "
    stored = column.column if column.member is None else f"{column.column}::text"
    if column.member is None:
        due = f"NOT starts_with({column.column}, $1)"
    else:
        due = (
            f"EXISTS (SELECT FROM jsonb_array_elements({column.column}) AS item "
            f"WHERE NOT starts_with(item ->> '{column.member}', $1))"
        )
    return (
        f"SELECT {key}, {stored} AS stored FROM {column.table} WHERE {due} {after}"  # noqa: S608 (names of SEALED)
        f"ORDER BY {key} LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
    )


def _write(column: SealedColumn) -> str:
    key = ", ".join(column.key)
    placeholders = ", ".join(f"${number}" for number in range(2, 2 + len(column.key)))
    value = "$1" if column.member is None else "$1::text::jsonb"
    return f"UPDATE {column.table} SET {column.column} = {value} WHERE ({key}) = ({placeholders})"  # noqa: S608 (names of SEALED)
