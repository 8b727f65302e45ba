"""Exports a tenant: reads all its rows in one snapshot, and writes them as an archive.

The snapshot is a REPEATABLE READ transaction that only reads: it blocks neither ingest nor requests. Rows are
streamed, so memory does not grow with the data. While the snapshot is open, PostgreSQL removes no row version
that is newer, so tables grow during a very long export.
"""

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from app.audit.hash_chain import ChainEntry, ChainHead
from app.audit.log_export import format_end_line, format_entry_line
from app.audit.verification import read_entries, read_heads
from app.catalogue.metrics import CATALOGUE
from app.platform.kernel.ids import new_id
from app.platform.runtime.release import describe_release
from app.tenant_transfer.archive_files import ArchiveWriter
from app.tenant_transfer.archive_manifest import (
    AUDIT_LOG_NAME,
    FORMAT,
    FORMAT_VERSION,
    ArchivedHead,
    ArchivedOrganisation,
    ArchiveError,
    ArchiveManifest,
    LeftOut,
    encode_manifest,
)
from app.tenant_transfer.archive_readme import build_readme
from app.tenant_transfer.column_dictionary import TableColumn, build_row_schema
from app.tenant_transfer.export_queries import (
    BOX_NUMBERS,
    CREATE_BOX_NUMBERS,
    FILL_BOX_NUMBERS,
    build_count,
    build_json_query,
    build_series_query,
)
from app.tenant_transfer.former_audit_logs import list_former_logs, read_former_entries
from app.tenant_transfer.parquet_files import PART_ROWS, ParquetPart, build_arrow_schema
from app.tenant_transfer.table_columns import DatabaseColumns, read_columns, select_exported
from app.tenant_transfer.table_transfer import STATEMENT_TIMEOUT_S, TransferredTable
from app.tenant_transfer.transfer_progress import TransferProgress
from app.tenant_transfer.transferred_tables import BY_NAME, LEFT_OUT, TABLES

_ORGANISATION: Final = f"SELECT id, name, kind FROM {BY_NAME['organisations'].name} WHERE id = $1"  # noqa: S608 (a constant)
_REVISION: Final = "SELECT version_num FROM alembic_version"
# The audit log records the export before its first byte is written.
_RECORD: Final = """
SELECT audit_record($1, 'organisation.read', jsonb_build_object('kind', 'organisation', 'id', $1::uuid),
    jsonb_build_object('export', $2::uuid))
"""
_FETCHED_ROWS: Final = 2000


class _Export:
    """One export.

    Args:
        connection: in the snapshot.
        organisation_id: the organisation.
        archive: where it is written.
        progress: counts the rows.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        organisation_id: UUID,
        archive: ArchiveWriter,
        progress: TransferProgress,
    ) -> None:
        self._connection = connection
        self._organisation_id = organisation_id
        self._archive = archive
        self._progress = progress
        self.heads: list[ArchivedHead] = []

    async def write_lines(self, table: TransferredTable, columns: list[TableColumn]) -> None:
        """Write a table as JSON Lines."""
        path = f"tables/{table.name}.jsonl"
        rows = 0
        with self._archive.create(path) as sink:
            cursor = await self._connection.cursor(build_json_query(table, columns), self._organisation_id)
            while found := await cursor.fetch(_FETCHED_ROWS, timeout=STATEMENT_TIMEOUT_S):
                sink.write(("\n".join(row[0] for row in found) + "\n").encode())
                rows += len(found)
                self._progress.add(len(found), table.name)
        self._archive.add(
            path,
            sink,
            table=table.name,
            rows=rows,
            columns=tuple(column.name for column in columns),
            imported=table.import_step is not None,
        )

    async def write_series(self, table: TransferredTable, columns: list[TableColumn]) -> None:
        """Write a table as Parquet, box by box: the order of the primary key, without a sort."""
        schema = build_arrow_schema(table.name, columns)
        query = build_series_query(table, columns)
        boxes = await self._connection.fetch(BOX_NUMBERS)
        names = tuple(column.name for column in columns)
        rows = self._read_series(query, boxes)
        number = 0
        following = await anext(rows, None)
        while following is not None or number == 0:
            number += 1
            path = f"{table.name}/{table.name}-{number:05}.parquet"
            with self._archive.create(path) as sink:
                part = ParquetPart(sink, schema)
                while following is not None and part.rows < PART_ROWS:
                    part.add(following)
                    self._progress.add(len(following), table.name)
                    following = await anext(rows, None)
                part.end()
            self._archive.add(path, sink, table=table.name, rows=part.rows, columns=names, imported=True)

    async def _read_series(
        self, query: str, boxes: list[asyncpg.Record]
    ) -> AsyncIterator[list[asyncpg.Record]]:
        for box in boxes:
            cursor = await self._connection.cursor(query, box["key"], box["number"], box["id"])
            while found := await cursor.fetch(_FETCHED_ROWS, timeout=STATEMENT_TIMEOUT_S):
                yield found

    async def write_audit_logs(self) -> None:
        """Write the audit log, and the logs that the organisation brought from former installations."""
        entries = read_entries(self._connection, self._organisation_id)
        known = {
            head.organisation_id: head for head in await read_heads(self._connection, self._organisation_id)
        }
        await self._write_log(AUDIT_LOG_NAME, entries, known.get(self._organisation_id))
        for log in await list_former_logs(self._connection, self._organisation_id):
            former = read_former_entries(self._connection, self._organisation_id, log.number)
            await self._write_log(f"audit/before-import-{log.number}.ndjson", former, None, last=log.last)

    async def _write_log(
        self, path: str, entries: AsyncIterator[ChainEntry], head: ChainHead | None, last: int = 0
    ) -> None:
        rows = 0
        with self._archive.create(path) as sink:
            async for entry in entries:
                sink.write(format_entry_line(entry).encode())
                rows += 1
                if entry.position == last:
                    head = ChainHead(entry.organisation_id, entry.position, entry.hash)
            if head is not None:
                sink.write(format_end_line(head, rows).encode())
        self._archive.add(path, sink, rows=rows, imported=True)
        if head is not None:
            self.heads.append(
                ArchivedHead(
                    path=path,
                    organisation_id=head.organisation_id,
                    position=head.position,
                    hash=head.hash.hex(),
                )
            )


async def export_tenant(
    connection: asyncpg.Connection, organisation_id: UUID, target: Path, report: Callable[[str], None]
) -> ArchiveManifest:
    """Export a tenant.

    Args:
        connection: of the owner of the tables, in no transaction.
        organisation_id: the organisation.
        target: the ZIP file or folder to write.
        report: prints a line of progress.

    Raises:
        ArchiveError: It cannot be exported.
        OSError: The target cannot be written.
    """
    await connection.execute("SET vigie.reach = 'all'; SET idle_in_transaction_session_timeout = 0")
    organisation = await connection.fetchrow(_ORGANISATION, organisation_id)
    if organisation is None:
        raise ArchiveError(f"there is no organisation {organisation_id}. `GET /v1/organisations` lists them")
    if organisation["kind"] == "platform":
        raise ArchiveError("this organisation operates the platform. Use `vigie backup` for an installation")
    columns = await read_columns(connection)
    archive_id = new_id()
    with ArchiveWriter(target) as archive:
        await connection.execute("SELECT set_config('vigie.actor', '', false)")
        await connection.fetchval(_RECORD, organisation_id, archive_id)
        await connection.execute(CREATE_BOX_NUMBERS)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(FILL_BOX_NUMBERS, organisation_id, timeout=STATEMENT_TIMEOUT_S)
            exported_at: datetime = await connection.fetchval("SELECT now()")
            total = 0
            for table in TABLES:
                total += await connection.fetchval(
                    build_count(table), organisation_id, timeout=STATEMENT_TIMEOUT_S
                )
            progress = TransferProgress(report, total)
            export = _Export(connection, organisation_id, archive, progress)
            for table in TABLES:
                exported = select_exported(table, columns)
                write = export.write_series if table.is_columnar else export.write_lines
                await write(table, exported)
                schema = build_row_schema(table, exported)
                archive.write(f"schemas/{table.name}.schema.json", _encode(schema))
            await export.write_audit_logs()
            revision = await connection.fetchval(_REVISION)
        manifest = ArchiveManifest(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            archive_id=archive_id,
            exported_at=exported_at,
            software=f"Vigie {describe_release()}",
            schema_revision=revision,
            organisation=ArchivedOrganisation(id=organisation["id"], name=organisation["name"]),
            late_bits=tuple(metric.name for metric in CATALOGUE),
            audit_heads=tuple(export.heads),
            files=(),
            left_out=tuple(_list_left_out(columns)),
        )
        archive.write("README.md", build_readme(manifest, archive.files).encode())
        manifest = _with_files(manifest, archive)
        archive.write_manifest(encode_manifest(manifest))
    return manifest


def _with_files(manifest: ArchiveManifest, archive: ArchiveWriter) -> ArchiveManifest:
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    return ArchiveManifest(**{**fields, "files": tuple(archive.files)})


def _list_left_out(columns: DatabaseColumns) -> list[LeftOut]:
    tables = [LeftOut(table=name, reason=reason) for name, reason in LEFT_OUT.items() if name in columns]
    single = [
        LeftOut(table=table.name, column=column, reason=reason)
        for table in TABLES
        for column, reason in table.left_out.items()
    ]
    return tables + single


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
