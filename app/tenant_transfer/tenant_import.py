"""Imports a tenant's archive as a new organisation, in steps that are each one transaction.

The steps are recorded in `tenant_imports` by the transactions themselves: an interrupted import continues
when it is run again, and a finished one is not repeated. Until the last step, boxes have no password,
rules are disabled, and members have no password, so nothing changes the tenant meanwhile.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from app.platform.secrets.sealing import SecretSealer
from app.registry.box_service import RESERVED_BOX_IDS
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import AUDIT_LOG_NAME, ArchivedFile, ArchiveError
from app.tenant_transfer.archive_rows import read_rows
from app.tenant_transfer.export_queries import CREATE_BOX_NUMBERS
from app.tenant_transfer.former_audit_logs import list_former_logs
from app.tenant_transfer.import_activation import enable_rules, issue_credentials
from app.tenant_transfer.import_conflicts import (
    check_integrator,
    check_schema,
    find_conflicts,
    read_kind,
)
from app.tenant_transfer.import_queries import CREATE_USER_IDS, MAP_BOXES, list_tables
from app.tenant_transfer.import_writers import RowWriter, check_references
from app.tenant_transfer.table_columns import DatabaseColumns, read_columns
from app.tenant_transfer.table_transfer import ALERTS, DELIVERIES, EVENTS, OUTBOX, REGISTRY, SERIES, STATES
from app.tenant_transfer.transfer_progress import TransferProgress
from app.tenant_transfer.transferred_tables import BY_NAME
from app.tenant_transfer.unusable_rows import find_unusable_rows

_BEGIN: Final = """
INSERT INTO tenant_imports (organisation_id, archive_id, started_at, steps) VALUES ($1, $2, now(), '{}')
"""
_FIND: Final = "SELECT archive_id, finished_at, box_keys FROM tenant_imports WHERE organisation_id = $1"
# An organisation that was deleted by the API may be imported once more.
_FORGET_DELETED: Final = f"""
DELETE FROM tenant_imports i WHERE organisation_id = $1
    AND NOT EXISTS (SELECT FROM {BY_NAME["organisations"].name} o WHERE o.id = i.organisation_id)
"""  # noqa: S608 (constants)
_LOCK: Final = "SELECT steps::text FROM tenant_imports WHERE organisation_id = $1 FOR UPDATE"
_RECORD: Final = """
UPDATE tenant_imports SET steps = steps || jsonb_build_object($2::text, $3::jsonb) WHERE organisation_id = $1
"""
_SET_KEYS: Final = "UPDATE tenant_imports SET box_keys = $2 WHERE organisation_id = $1"
_FINISH: Final = "UPDATE tenant_imports SET finished_at = now() WHERE organisation_id = $1"
# INSERT instead of COPY, which PostgreSQL refuses for tables with policies.
_ADD_ENTRIES: Final = """
INSERT INTO imported_audit_entries
    (organisation_id, log, position, source_organisation_id, record, previous, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_AUDIT_ROWS: Final = 2000


class ImportOptions(NamedTuple):
    """The id, name and integrator of an imported organisation.

    Attributes:
        organisation_id: the id of the new organisation; None: that of the archive.
        name: its name; None: that of the archive.
        parent: the integrator that manages it; None: none.
    """

    organisation_id: UUID | None = None
    name: str | None = None
    parent: UUID | None = None


class ImportedTenant(NamedTuple):
    """A finished import: the organisation, its rows, and its new credentials (None: finished before)."""

    organisation_id: UUID
    rows: int
    credentials: int | None


class _Import:
    """One import of an archive into an organisation."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        archive: ArchiveReader,
        organisation_id: UUID,
        *,
        columns: DatabaseColumns,
        progress: TransferProgress,
    ) -> None:
        self.connection = connection
        self.archive = archive
        self.organisation_id = organisation_id
        self.progress = progress
        self.writer = RowWriter(connection, archive, organisation_id, columns=columns, progress=progress)

    async def run_step(self, step: str, write: Callable[[], Any]) -> None:
        """Run a step in a transaction, unless it has committed before."""
        async with self.connection.transaction():
            # The lock serialises two imports of one archive.
            done = json.loads(await self.connection.fetchval(_LOCK, self.organisation_id))
            if step in done:
                self.progress.add(sum(done[step].values()), step)
                return
            counts = await write()
            await self.connection.execute(_RECORD, self.organisation_id, step, json.dumps(counts))

    async def begin(self, options: ImportOptions, columns: DatabaseColumns) -> None:
        """Refuse conflicts, and write the registry in one transaction.

        Raises:
            ArchiveError: Something exists already; the text lists it.
        """
        manifest = self.archive.manifest
        if options.parent is not None:
            await check_integrator(self.connection, options.parent)
        if conflicts := await find_conflicts(self.connection, self.archive, self.organisation_id, columns):
            listed = "\n  ".join(conflicts)
            raise ArchiveError(f"nothing was imported, because this exists here already:\n  {listed}")
        async with self.connection.transaction():
            await self.connection.execute(_BEGIN, self.organisation_id, manifest.archive_id)
            counts = await self._write_tables(REGISTRY)
            await self._rename(options)
            keys = await self.writer.read_box_keys()
            await self.connection.execute(_SET_KEYS, self.organisation_id, keys)
            await self.connection.execute(_RECORD, self.organisation_id, REGISTRY, json.dumps(counts))

    async def _rename(self, options: ImportOptions) -> None:
        changes = {"name": options.name, "parent_id": options.parent}
        for column, value in changes.items():
            if value is not None:
                table = BY_NAME["organisations"].name
                await self.connection.execute(
                    f"UPDATE {table} SET {column} = $2 WHERE id = $1",  # noqa: S608 (constants)
                    self.organisation_id,
                    value,
                )

    async def _write_tables(self, step: str) -> dict[str, int]:
        tables = list_tables(step)
        counts = {table.name: await self.writer.write_table(table) for table in tables}
        await check_references(self.connection, self.organisation_id, tables)
        return counts

    async def write_history(self) -> None:
        """Write events, alerts, the outbox and deliveries: a step each."""
        for step in (EVENTS, ALERTS, OUTBOX, DELIVERIES):
            await self.run_step(step, lambda step=step: self._write_tables(step))  # type: ignore[misc]

    async def write_series(self) -> None:
        """Write samples and roll-ups: a step for each file."""
        for table in list_tables(SERIES):
            for file in self.archive.manifest.list_table_files(table.name):

                async def write(file: ArchivedFile = file) -> dict[str, int]:
                    return {file.path: await self.writer.write_series(BY_NAME[file.table or ""], file)}

                await self.run_step(file.path, write)

    async def _write_audit_logs(self) -> dict[str, int]:
        """Write the logs of former installations: read-only, apart from this installation's log."""
        paths = sorted(
            (file for file in self.archive.manifest.files if file.path.startswith("audit/")),
            # The log of the installation that exported is the newest.
            key=lambda file: (file.path == AUDIT_LOG_NAME, len(file.path), file.path),
        )
        # Those of an earlier import of an organisation that was deleted stay.
        known = await list_former_logs(self.connection, self.organisation_id)
        first = max((log.number for log in known), default=0) + 1
        return {
            file.path: await self._write_log(file, number) for number, file in enumerate(paths, start=first)
        }

    async def _write_log(self, file: ArchivedFile, number: int) -> int:
        entries = 0
        with self.archive.open(file) as lines:
            for rows in _batches(_parse_entries(lines, self.organisation_id, number)):
                await self.connection.executemany(_ADD_ENTRIES, rows)
                entries += len(rows)
        return entries

    async def end(self, sealer: SecretSealer, target: Path) -> int:
        """Write the states, issue credentials, enable the rules; returns the number of credentials."""
        given = 0

        async def write() -> dict[str, int]:
            nonlocal given
            # The audit log is append-only, so its entries come last.
            counts = await self._write_tables(STATES) | await self._write_audit_logs()
            enabled = [UUID(row["id"]) for row in read_rows(self.archive, "rules") if row["enabled"]]
            await enable_rules(self.connection, self.organisation_id, enabled)
            given = await issue_credentials(self.connection, self.organisation_id, sealer, target)
            await self.connection.execute(_FINISH, self.organisation_id)
            return counts

        await self.run_step(STATES, write)
        return given


async def import_tenant(
    connection: asyncpg.Connection,
    archive: ArchiveReader,
    options: ImportOptions,
    *,
    sealer: SecretSealer,
    credentials: Path,
    report: Callable[[str], None],
    reserved_box_ids: Collection[str] = RESERVED_BOX_IDS,
) -> ImportedTenant:
    """Import a verified archive. A second call continues an interrupted import.

    Args:
        connection: of the owner of the tables, in no transaction.
        archive: the archive.
        options: id, name and integrator of the new organisation.
        sealer: encrypts the secrets of webhooks.
        credentials: the file with new passwords and secrets; it must not exist.
        report: prints a line of progress.
        reserved_box_ids: the ids that no box may have.

    Raises:
        ArchiveError: It cannot be imported.
        SealingError: There are webhooks, and no encryption key.
        OSError: The credentials cannot be written.
    """
    await connection.execute("SET vigie.reach = 'all'; SET idle_in_transaction_session_timeout = 0")
    manifest = archive.manifest
    organisation_id = options.organisation_id or manifest.organisation.id
    await check_schema(connection, manifest)
    columns = await read_columns(connection)
    total = sum(file.rows or 0 for file in manifest.files if file.imported)
    await connection.execute(_FORGET_DELETED, organisation_id)
    begun = await connection.fetchrow(_FIND, organisation_id)
    if begun is not None and begun["archive_id"] != manifest.archive_id:
        raise ArchiveError(
            f"another archive ({begun['archive_id']}) was imported as organisation {organisation_id}. "
            "Choose another id with --as"
        )
    if begun is not None and begun["finished_at"] is not None:
        return ImportedTenant(organisation_id, total, None)
    if credentials.exists():  # noqa: ASYNC240 (a command, which does nothing else meanwhile)
        raise ArchiveError(f"{credentials} exists. Name another file for the new credentials")
    _check_late_bits(manifest.late_bits, [column.name for column in columns["samples"]])
    _check_rows(archive, options, reserved_box_ids, report)
    progress = TransferProgress(report, total)
    await connection.execute(CREATE_BOX_NUMBERS)
    await connection.execute(CREATE_USER_IDS)
    work = _Import(connection, archive, organisation_id, columns=columns, progress=progress)
    try:
        if begun is None:
            await work.begin(options, columns)
        else:
            report(f"the import of {begun['archive_id']} continues")
            await connection.execute(MAP_BOXES, begun["box_keys"])
        await work.write_history()
        await work.write_series()
        given = await work.end(sealer, credentials)
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
        # The detail names the values, which may be personal data of another tenant.
        raise ArchiveError(
            f"a row of {error.table_name or 'the archive'} cannot be stored: {error.args[0]}. This step was "
            "not imported; earlier ones stay. Run the import again, or undo it by `vigie tenant discard`"
        ) from None
    return ImportedTenant(organisation_id, total, given)


def _check_rows(
    archive: ArchiveReader, options: ImportOptions, reserved: Collection[str], report: Callable[[str], None]
) -> None:
    if unusable := find_unusable_rows(archive, reserved):
        listed = "\n  ".join(unusable)
        raise ArchiveError(f"the archive has rows that cannot be used here:\n  {listed}")
    if read_kind(archive, options.parent) == "integrator":
        report("the organisation is an integrator: it can create organisations, and access what they have")


def _check_late_bits(archived: Iterable[str], present: list[str]) -> None:
    # New metrics are appended: those of an older installation are the first ones.
    metrics = [name for name in present if name not in {"time", "seq", "box_key", "late"}]
    archived = list(archived)
    if metrics[: len(archived)] != archived:
        raise ArchiveError("the archive has other metrics than this installation. Upgrade Vigie here")


def _parse_entries(lines: Iterable[bytes], organisation_id: UUID, number: int) -> Iterator[tuple[Any, ...]]:
    for line in lines:
        values = json.loads(line)
        if "record" in values:
            yield (
                organisation_id,
                number,
                values["position"],
                UUID(values["organisation_id"]),
                values["record"],
                bytes.fromhex(values["previous"]),
                bytes.fromhex(values["hash"]),
            )


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AUDIT_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def describe_import(done: ImportedTenant, seconds: float) -> str:
    """Describe a finished import in a line."""
    if done.credentials is None:
        return f"organisation {done.organisation_id} was imported before: nothing was changed"
    at = datetime.now(UTC)
    return (
        f"organisation {done.organisation_id} imported at {at:%H:%M:%SZ}: {done.rows:,} rows in "
        f"{seconds:.1f} s, {done.credentials} new credentials"
    )
