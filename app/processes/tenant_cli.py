"""Provides `vigie tenant …`: exports an organisation whole, verifies such an archive, and imports it.

The commands connect to the database as the owner of the tables (`VIGIE_DATABASE__URL`, or the data directory
of `vigie up`), because they read and write for a tenant what no process may.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import asyncpg
import typer

from app.platform.config.platform_settings import DatabaseSettings, read_database_settings
from app.platform.secrets.sealing import SealingError, SecretSealer
from app.processes.command_output import fail, report_progress
from app.registry.box_service import RESERVED_BOX_IDS
from app.settings import VigieSettings
from app.standalone.command_database_connection import connect_for_command
from app.standalone.secret_rotation import find_installation_database, find_rotation_target
from app.standalone.secrets_cli import DataDir
from app.standalone.unprivileged_accounts import StandaloneError
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.archive_verification import verify_archive

if TYPE_CHECKING:
    from app.tenant_transfer.tenant_import import ImportedTenant, ImportOptions

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One organisation whole: export it, verify the archive, import it elsewhere.",
)
_FAULTS: Final = (
    OSError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    StandaloneError,
    SealingError,
    ArchiveError,
)
_Archive = Annotated[Path, typer.Argument(help="The ZIP file or folder that `vigie tenant export` wrote")]


@app.command("export")
def export_command(
    *,
    organisation: Annotated[UUID, typer.Option(help="The organisation; `GET /v1/organisations` lists them")],
    to: Annotated[Path, typer.Option(help="The new ZIP file (its name ends with .zip) or folder")],
    data_dir: DataDir = None,
) -> None:
    """Export everything of an organisation in open formats.

    Exit code 1: it cannot be exported. An interrupted export leaves nothing but FILE.partial, which the next
    one removes.
    """
    from app.tenant_transfer.tenant_export import export_tenant  # noqa: PLC0415 (imports pyarrow)

    async def export() -> int:
        settings = find_installation_database(data_dir, read_database_settings())
        async with _connect(settings) as connection:
            manifest = await export_tenant(connection, organisation, to, report_progress)
        return sum(file.rows or 0 for file in manifest.files)

    with _refusing():
        began = time.monotonic()
        rows = asyncio.run(export())
        typer.echo(f"{to}: {rows:,} rows of organisation {organisation} in {time.monotonic() - began:.1f} s")
        typer.echo("It contains personal data. Hand it over encrypted.")


@app.command("verify")
def verify_command(archive: _Archive) -> None:
    """Verify an archive: files, checksums, counts, and the chains of the audit log. No database is needed.

    Exit code 1: it is not as it was exported.
    """
    with _refusing(), closing(ArchiveReader(archive)) as opened:
        verify_archive(opened, report_progress)
        manifest = opened.manifest
        rows = sum(file.rows or 0 for file in manifest.files)
        typer.echo(f"{archive}: {manifest.organisation.name} ({manifest.organisation.id}), {rows:,} rows")
        for head in manifest.audit_heads:
            typer.echo(f"{head.path}: intact up to position {head.position}, hash {head.hash}")
        typer.echo(f"All {len(manifest.files)} files have the rows and checksums of the manifest.")


@app.command("import")
def import_command(
    *,
    archive: _Archive,
    credentials: Annotated[
        Path,
        typer.Option(help="New CSV file for the new passwords of boxes and secrets of webhooks (mode 0600)"),
    ],
    as_: Annotated[
        UUID | None, typer.Option("--as", help="Id of the new organisation; by default that of the archive")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; by default that of the archive")] = None,
    parent: Annotated[
        UUID | None, typer.Option(help="The integrator that manages it; by default none")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Import an archive as a new organisation. Run it again to continue after an interruption.

    Exit code 1: it cannot be imported; the text says why, and what was stored.
    """
    from app.tenant_transfer.tenant_import import ImportOptions, describe_import  # noqa: PLC0415 (imports pyarrow)

    with _refusing():
        began = time.monotonic()
        options = ImportOptions(as_, name, parent)
        done = asyncio.run(_import(archive, options, credentials, data_dir))
        typer.echo(describe_import(done, time.monotonic() - began))
        if done.credentials is not None:
            typer.echo(f"{credentials} has the new credentials. They are stored nowhere else.")
            typer.echo("Webhooks, channels and mailed reports are disabled: enable them after a check.")


async def _import(
    archive: Path, options: "ImportOptions", credentials: Path, data_dir: Path | None
) -> "ImportedTenant":
    from app.tenant_transfer.tenant_import import import_tenant  # noqa: PLC0415 (imports pyarrow)

    with closing(ArchiveReader(archive)) as opened:
        verify_archive(opened, report_progress)
        settings = VigieSettings()
        target = find_rotation_target(data_dir, settings)
        if target.database is None:
            raise StandaloneError(f"no stack runs on {data_dir}: start it, or set VIGIE_DATABASE__URL")
        sealer = SecretSealer.of(target.encryption)
        async with _connect(target.database) as connection:
            return await import_tenant(
                connection,
                opened,
                options,
                sealer=sealer,
                credentials=credentials,
                report=report_progress,
                reserved_box_ids=RESERVED_BOX_IDS | {settings.broker.username},
            )


@app.command("discard")
def discard_command(
    *,
    organisation: Annotated[UUID, typer.Option(help="The organisation whose import broke off")],
    data_dir: DataDir = None,
) -> None:
    """Undo an import that has not ended: remove all that it wrote.

    Exit code 1: there is none.
    """
    from app.tenant_transfer.discarded_imports import discard_import  # noqa: PLC0415 (imports pyarrow)

    async def discard() -> int:
        settings = find_installation_database(data_dir, read_database_settings())
        async with _connect(settings) as connection:
            return await discard_import(connection, organisation)

    with _refusing():
        typer.echo(f"{asyncio.run(discard()):,} rows of organisation {organisation} removed")


@app.command("former-audit")
def former_audit_command(
    *,
    organisation: Annotated[UUID, typer.Option(help="The imported organisation")],
    log: Annotated[int, typer.Option(min=1, help="Which of its former logs; 1 is the oldest")] = 1,
    out: Annotated[Path, typer.Option(help="The new file, for `vigie audit verify --export`")],
    data_dir: DataDir = None,
) -> None:
    """Write the audit log that an organisation had before its import, as an export that can be verified.

    Exit code 1: there is none.
    """
    from app.tenant_transfer.former_audit_logs import write_former_log  # noqa: PLC0415

    async def write() -> int:
        settings = find_installation_database(data_dir, read_database_settings())
        async with _connect(settings) as connection:
            return await write_former_log(connection, organisation, log, out)

    with _refusing():
        typer.echo(f"{out}: {asyncio.run(write())} entries")


@asynccontextmanager
async def _connect(settings: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    async with connect_for_command(settings, application="vigie-tenant") as connection:
        yield connection


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        fail(error, command="vigie tenant")
