"""Provides `vigie audit …`: verifies the audit log's hash chain, prints its newest hashes and exports it.

It connects to the database directly, by the settings (`VIGIE_DATABASE__URL`) or the data directory. No API
key or encryption key is needed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import asyncpg
import typer

from app.audit import log_export as files
from app.audit.hash_chain import ChainFinding, ChainHead, ChainVerifier
from app.audit.verification import read_entries, read_heads, verify_log
from app.platform.config.platform_settings import DatabaseSettings, read_database_settings
from app.processes.command_output import fail
from app.standalone.command_database_connection import connect_for_command
from app.standalone.secret_rotation import find_installation_database
from app.standalone.secrets_cli import DataDir
from app.standalone.unprivileged_accounts import StandaloneError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The audit log: verify it, print its heads, export it.",
)
Organisation = Annotated[UUID | None, typer.Option(help="Only this organisation")]
Out = Annotated[Path | None, typer.Option(help="Write to this file instead of standard output")]
_SHOWN = 20
_CANNOT = 2
_FAULTS = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, StandaloneError)


@asynccontextmanager
async def open_log_snapshot(settings: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection with a consistent snapshot of the whole log.

    Raises:
        StandaloneError: The database cannot be reached.
    """
    async with (
        connect_for_command(settings, application="vigie-audit") as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        # Reading a long log to a slow terminal takes longer than a transaction may be idle.
        await connection.execute("SET LOCAL vigie.reach = 'all'")
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.execute("SET LOCAL enable_sort = off")
        yield connection


@app.command("verify")
def verify_command(
    *,
    organisation: Organisation = None,
    data_dir: DataDir = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="Heads stored elsewhere: a file of `vigie audit heads`, or the log of `maintain`"),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Verify this exported file; no database is needed")
    ] = None,
) -> None:
    """Verify that no entry was altered, removed, reordered or inserted.

    Exit code 1: something is wrong; 2: nothing could be verified.
    """
    try:
        stored_heads = [] if heads is None else list(_read_stored_heads(heads, organisation))
        verifier = ChainVerifier(stored_heads, partial=export is not None)
        if export is None:
            wrong = asyncio.run(_verify_database(verifier, organisation, data_dir))
        else:
            with export.open(encoding="utf-8") as lines:
                wrong = _show(files.verify_export(lines, verifier, organisation))
    except _FAULTS as error:
        fail(error, _CANNOT, "vigie audit")
    if not verifier.entries and not wrong:
        where = f"organisation {organisation}" if organisation is not None else "any organisation"
        source = "the database" if export is None else str(export)
        fail(
            ValueError(f"there is no log of {where} in {source}: nothing was verified"),
            _CANNOT,
            "vigie audit",
        )
    logs = len(verifier.heads)
    typer.echo(
        f"{verifier.entries} entries of {logs} organisations, {len(stored_heads)} heads stored elsewhere"
    )
    typer.echo("nothing is wrong" if not wrong else f"{wrong} findings")
    if not stored_heads:
        typer.echo("without heads stored elsewhere (--heads), a completely rewritten log is not detected")
    raise typer.Exit(1 if wrong else 0)


@app.command("heads")
def heads_command(*, organisation: Organisation = None, out: Out = None, data_dir: DataDir = None) -> None:
    """Print the head of each organisation's log, one per line. Store them outside the database."""

    async def lines() -> AsyncIterator[str]:
        async with open_log_snapshot(_database(data_dir)) as connection:
            for head in await read_heads(connection, organisation):
                yield files.format_head_line(head)

    _write(lines(), out)


@app.command("export")
def export_command(*, organisation: Organisation = None, out: Out = None, data_dir: DataDir = None) -> None:
    """Print the log as NDJSON, with all data for verification elsewhere."""
    _write(_exported(organisation, data_dir), out)


async def _exported(organisation: UUID | None, data_dir: Path | None) -> AsyncIterator[str]:
    async with open_log_snapshot(_database(data_dir)) as connection:
        heads = {head.organisation_id: head for head in await read_heads(connection, organisation)}
        current: UUID | None = None
        entries = 0
        async for entry in read_entries(connection, organisation):
            if current is not None and entry.organisation_id != current:
                if current in heads:
                    yield files.format_end_line(heads[current], entries)
                entries = 0
            current = entry.organisation_id
            entries += 1
            yield files.format_entry_line(entry)
        if current in heads:
            yield files.format_end_line(heads[current], entries)


def _read_stored_heads(path: Path, organisation: UUID | None) -> Iterator[ChainHead]:
    with path.open(encoding="utf-8") as lines:
        found = files.parse_heads(lines)
    if not found:
        raise ValueError(f"{path} has no heads: lines of JSON with organisation_id, position and hash")
    return (head for head in found if organisation in {None, head.organisation_id})


async def _verify_database(verifier: ChainVerifier, organisation: UUID | None, data_dir: Path | None) -> int:
    def progress(entries: int) -> None:
        typer.echo(f"{entries} entries …", err=True)

    shown = _FindingPrinter()
    async with open_log_snapshot(_database(data_dir)) as connection:
        async for finding in verify_log(connection, verifier, organisation, progress):
            shown.add(finding)
    return shown.end()


def _show(findings: Iterable[ChainFinding]) -> int:
    shown = _FindingPrinter()
    for finding in findings:
        shown.add(finding)
    return shown.end()


class _FindingPrinter:
    """Prints the first findings of each organisation, since an inserted entry shifts all later ones."""

    def __init__(self) -> None:
        self._count: Counter[UUID] = Counter()

    def add(self, finding: ChainFinding) -> None:
        """Print or only count a finding."""
        organisation_id, position, code, detail = finding
        self._count[organisation_id] += 1
        if self._count[organisation_id] <= _SHOWN:
            typer.echo(f"{code}: organisation {organisation_id}, position {position}: {detail}")

    def end(self) -> int:
        """Print how many findings were not shown; returns the total."""
        for organisation_id, count in self._count.items():
            if count > _SHOWN:
                typer.echo(f"organisation {organisation_id}: {count - _SHOWN} more findings")
        return self._count.total()


def _write(lines: AsyncIterator[str], out: Path | None) -> None:
    async def write() -> None:
        if out is None:
            async for line in lines:
                typer.echo(line, nl=False)
            return
        with out.open("w", encoding="utf-8") as file:
            async for line in lines:
                file.write(line)

    try:
        asyncio.run(write())
    except _FAULTS as error:
        fail(error, _CANNOT, "vigie audit")


def _database(data_dir: Path | None) -> DatabaseSettings:
    """Return the database with the log (StandaloneError if it is of a stack that does not run)."""
    return find_installation_database(data_dir, read_database_settings())
