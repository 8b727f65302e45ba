"""Writes the files of an archive into the tables, and checks what was written."""

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final
from uuid import UUID

import asyncpg

from app.platform.kernel.ids import new_id
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchivedFile, ArchiveError
from app.tenant_transfer.export_queries import build_count
from app.tenant_transfer.import_queries import (
    FIND_USERS,
    FOREIGN_KEYS,
    FORGET_USERS,
    MAP_BOXES,
    build_emptying,
    build_foreign_count,
    build_insert,
    build_self_reference,
    choose_columns,
)
from app.tenant_transfer.parquet_files import read_parquet
from app.tenant_transfer.table_columns import DatabaseColumns
from app.tenant_transfer.table_transfer import STATEMENT_TIMEOUT_S, TransferredTable
from app.tenant_transfer.transfer_progress import TransferProgress
from app.tenant_transfer.transferred_tables import BY_NAME, build_scope

_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 4 << 20
_BOX_KEYS: Final = (
    f"SELECT t.key FROM {BY_NAME['boxes'].name} t WHERE {build_scope(BY_NAME['boxes'])} ORDER BY t.key"  # noqa: S608 (constants)
)


class RowWriter:
    """Writes rows into tables, in the caller's transaction.

    Args:
        connection: of the owner of the tables.
        archive: the archive.
        organisation_id: the organisation that gets the rows.
        columns: the columns of the database.
        progress: counts the rows.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        archive: ArchiveReader,
        organisation_id: UUID,
        *,
        columns: DatabaseColumns,
        progress: TransferProgress,
    ) -> None:
        self._connection = connection
        self._archive = archive
        self._organisation_id = organisation_id
        self._columns = columns
        self._progress = progress

    async def read_box_keys(self) -> list[int]:
        """Return the keys of the imported boxes, in the order of their numbers."""
        return [row["key"] for row in await self._connection.fetch(_BOX_KEYS, self._organisation_id)]

    async def write_table(self, table: TransferredTable) -> int:
        """Write the files of a table; returns the number of rows.

        Raises:
            ArchiveError: Rows are missing afterwards, because they refer to something of another tenant.
        """
        if table.is_emptied:
            await self._connection.execute(build_emptying(table), self._organisation_id)
        rows = 0
        for file in self._archive.manifest.list_table_files(table.name):
            rows += await self._write_lines(table, file)
        if table.name == "boxes":
            await self._map_boxes(rows)
        if table.name == "users":
            # The scope of `users` depends on memberships, which the import writes later.
            return rows
        stored = await self._connection.fetchval(
            build_count(table), self._organisation_id, timeout=STATEMENT_TIMEOUT_S
        )
        if stored < rows:
            raise ArchiveError(
                f"{rows} rows of {table.name} were written, and {stored} are the organisation's: the archive "
                "refers to things of another tenant. Nothing of this step was imported"
            )
        return rows

    async def _map_boxes(self, rows: int) -> None:
        keys = await self.read_box_keys()
        if len(keys) != rows:
            raise ArchiveError(f"{rows} boxes were written, and {len(keys)} are stored")
        await self._connection.execute(MAP_BOXES, keys)

    async def _write_lines(self, table: TransferredTable, file: ArchivedFile) -> int:
        columns = choose_columns(table, file.columns, self._columns[table.name])
        query = build_insert(table, columns)
        references: list[tuple[str, str]] = []
        rows = 0
        with self._archive.open(file) as lines:
            for batch in _read_batches(lines):
                written = batch
                if table.name == "users":
                    written = await self._choose_user_ids(batch)
                if table.self_reference is not None:
                    references += _collect_references(batch, table.self_reference)
                await self._connection.execute(query, "[" + ",".join(written) + "]", self._organisation_id)
                rows += len(batch)
                self._progress.add(len(batch), table.name)
        if references:
            pairs = [list(each) for each in zip(*references, strict=True)]
            await self._connection.execute(build_self_reference(table), *pairs)
        return rows

    async def _choose_user_ids(self, batch: Sequence[str]) -> list[str]:
        """Choose and map the ids of new accounts; returns the lines with these ids.

        An archive never attaches a membership to an existing account. Addresses are not verified: anybody may
        have an account with the address. Nor is an id proof: archives are not signed, and an earlier one may
        have brought it.
        """
        people = [json.loads(line) for line in batch]
        ids = [UUID(person["id"]) for person in people]
        await self._connection.execute(FORGET_USERS, ids)
        taken = {row["id"] for row in await self._connection.fetch(FIND_USERS, ids)}
        pairs = [(former, new_id() if former in taken else former) for former in ids]
        await self._connection.copy_records_to_table("transferred_users", records=pairs)
        return [
            json.dumps({**person, "id": str(present)})
            for person, (_, present) in zip(people, pairs, strict=True)
        ]

    async def write_series(self, table: TransferredTable, file: ArchivedFile) -> int:
        """Write a Parquet file by COPY; returns the number of rows.

        Raises:
            ArchiveError: It has rows of unknown boxes, or not as many as the manifest says.
        """
        columns = [column.name for column in choose_columns(table, file.columns, self._columns[table.name])]
        numbers = await self._connection.fetch("SELECT number, key FROM transferred_boxes")
        keys: dict[int, int] = {row["number"]: row["key"] for row in numbers}
        place = columns.index("box_key")
        rows = 0
        with self._archive.open_seekable(file) as opened:
            for batch in read_parquet(opened, columns):
                try:
                    records = [(*row[:place], keys[row[place]], *row[place + 1 :]) for row in batch]
                except KeyError as error:
                    raise ArchiveError(
                        f"{file.path} has rows of box {error}, which boxes.jsonl lacks"
                    ) from None
                status = await self._connection.copy_records_to_table(
                    table.name, records=records, columns=columns, timeout=STATEMENT_TIMEOUT_S
                )
                rows += int(status.rpartition(" ")[2])
                self._progress.add(len(batch), table.name)
        if rows != file.rows:
            raise ArchiveError(f"{file.path}: {rows} rows were stored, and the manifest says {file.rows}")
        return rows


async def check_references(
    connection: asyncpg.Connection, organisation_id: UUID, tables: Sequence[TransferredTable]
) -> None:
    """Check that imported rows refer to rows of the same organisation only.

    Args:
        connection: in the transaction that wrote them.
        organisation_id: the organisation.
        tables: the tables that were written.

    Raises:
        ArchiveError: A row refers to something of another tenant.
    """
    written = {table.name: table for table in tables}
    for name, column, parent, key in await connection.fetch(FOREIGN_KEYS):
        if name not in written or parent not in BY_NAME or "organisations" in {name, parent}:
            continue
        query = build_foreign_count(written[name], column, parent, key)
        if count := await connection.fetchval(query, organisation_id, timeout=STATEMENT_TIMEOUT_S):
            raise ArchiveError(
                f"{count} rows of {name} refer by {column} to {parent} of another tenant. "
                "Nothing of this step was imported"
            )


def _read_batches(lines: IO[bytes]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        batch.append(line.decode())
        size += len(line)
        if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _collect_references(batch: Sequence[str], column: str) -> list[tuple[str, str]]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in batch]
    return [(row["id"], row[column]) for row in rows if row[column] is not None]
