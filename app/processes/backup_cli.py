"""Provides `vigie backup …` and `vigie restore`.

They run as PostgreSQL's account, or as root, which then runs pgBackRest under that account. Exit status: 1 if
a backup is damaged, 2 if nothing could be done.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import typer

from app.backups.backup_catalogue import BackupEntry
from app.backups.backup_repository import read_bundles
from app.backups.backup_run import connect_to_cluster, connect_to_primary, make_backup, seal_files
from app.backups.backup_target import BackupError, BackupTarget, DamagedBackupError, NotDueError
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import build_patroni_command, list_archive_settings
from app.backups.recovery_bundle import RecoveryBundle, open_bundles
from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey
from app.backups.repository_setup import set_up_host
from app.backups.settings import BackupCommandSettings
from app.backups.verification import verify_backup
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.platform_settings import read_valid_settings
from app.platform.secrets.sealing import SealingError, SecretSealer
from app.processes.command_output import fail, report_progress
from app.standalone.backup_installation import BackupInstallation, find_backup_installation
from app.standalone.secrets_cli import DataDir
from app.standalone.unprivileged_accounts import StandaloneError

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Back up, list and verify. Without a further command: make a backup.",
)
RecoveryKeyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--recovery-key",
        help="File with the private part of the recovery key; - is stdin. Repeat it for a former key",
    ),
]
Scheduled = Annotated[
    bool,
    typer.Option(
        "--scheduled", help="For timers: succeed without a change if this host has nothing to do now"
    ),
]
_OF_PATRONI: Final = "patroni.dynamic.json"
_DAMAGED: Final = 1
_CANNOT: Final = 2
_TERMINATED: Final = 128 + signal.SIGTERM
_KIBIBYTE: Final = 1024


class BackupType(StrEnum):
    """The kinds of backups."""

    FULL = "full"
    DIFF = "diff"
    INCR = "incr"


@app.callback()
def main(
    context: typer.Context,
    *,
    kind: Annotated[
        BackupType | None,
        typer.Option("--type", help="By default diff while a full backup is young enough, else full"),
    ] = None,
    scheduled: Scheduled = False,
    data_dir: DataDir = None,
) -> None:
    """Make a backup, with checksums by which `verify` compares a restore.

    With --scheduled: only on the primary's host, and not within six hours after a backup.
    """
    if context.invoked_subcommand is not None:
        return
    with failing(scheduled=scheduled):
        target = find_installation(data_dir).target
        done = asyncio.run(
            make_backup(target, None if kind is None else kind.value, report_progress, scheduled=scheduled)
        )
    rows = sum(count for count, _ in done.entry.tables.values())
    typer.echo(
        f"{done.entry.label}: {format_bytes(done.entry.database_bytes)} of database, "
        f"{format_bytes(done.entry.repository_bytes)} in the repository, {len(done.entry.tables)} tables "
        f"with {rows} rows, in {done.took_s:.1f} s. Writers paused for {done.paused_s * 1000:.0f} ms."
    )
    if done.entry.has_error:
        typer.echo("PostgreSQL's files have damaged pages: see `pgbackrest info --set` and PostgreSQL's log")
        raise typer.Exit(_DAMAGED)


@app.command()
def keygen(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write the private part to this new file instead of the screen")
    ] = None,
) -> None:
    """Make a recovery key. It may be made on another machine: only the public part belongs on this one."""
    key = RecoveryPrivateKey.generate()
    with failing():
        if out is None:
            typer.echo(f"Private part, for paper or a vault, not for this machine: {key.reveal()}")
        else:
            descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{key.reveal()}\n")
            typer.echo(f"The private part is in {out}. Keep it off the machine that is backed up.")
    typer.echo(f"VIGIE_BACKUP__RECOVERY_KEY={key.public}")


@app.command()
def setup(*, data_dir: DataDir = None) -> None:
    """Make passphrase and repository, write pgBackRest's configuration, and show PostgreSQL's settings.

    Run it on each host of the database, on the primary's first.
    """
    with failing():
        found = find_installation(data_dir)
        for line in asyncio.run(set_up_host(found.target, report_progress)):
            typer.echo(line)
        if found.layout is not None:
            typer.echo("`vigie up` archives to it from its next start on. Then: vigie backup")
            return
        if (found.target.cluster_dir / _OF_PATRONI).exists():
            typer.echo("Once for all hosts; `patronictl list` shows whether a restart is pending:")
            typer.echo(build_patroni_command(found.target.config_file))
            return
        typer.echo("Lines for postgresql.conf; restart PostgreSQL after a change, then: vigie backup")
        for name, value in list_archive_settings(found.target.config_file).items():
            typer.echo(f"{name} = {value}")


@app.command("list")
def list_command(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the backups in the repository, the oldest first."""
    with failing():
        target = find_installation(data_dir).target
        backups = asyncio.run(PgBackRest(target, report_progress).list_backups())
    if as_json:
        typer.echo(json.dumps([each.as_json() for each in backups], indent=1))
        return
    for line in format_list(backups):
        typer.echo(line)


@app.command()
def verify(
    *,
    label: Annotated[str | None, typer.Option("--set", help="The backup; by default the newest one")] = None,
    recovery_key: RecoveryKeyFiles = None,
    scheduled: Scheduled = False,
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into a scratch cluster, compare it with what was backed up, and remove it.

    Exit status: 1 if the backup is damaged, 2 if nothing could be verified.
    """
    with failing(scheduled=scheduled):
        found = find_installation(data_dir)
        done = run_until_terminated(
            verify_backup(
                found.target,
                label,
                report_progress,
                recovery_keys=read_recovery_keys(recovery_key),
                sealer=_find_sealer(found),
            )
        )
    typer.echo(
        f"{done.label} is whole: {done.tables} tables with {done.rows} rows are equal, "
        f"{done.audit_entries} audit entries are linked, {done.sealed_values} secrets open with "
        f"{done.opened_with}. Restored in {done.restore_s:.1f} s, verified in {done.took_s:.1f} s."
    )


@app.command()
def seal(*, scheduled: Scheduled = False, data_dir: DataDir = None) -> None:
    """Seal the files of VIGIE_BACKUP__INCLUDE into the database, so that the next backup has them."""
    with failing(scheduled=scheduled):
        asyncio.run(_seal(find_installation(data_dir).target))


async def _seal(target: BackupTarget) -> None:
    connection = await connect_to_primary(target)
    try:
        await seal_files(target, connection, report_progress)
    finally:
        await connection.close()


@app.command()
def unseal(
    *,
    recovery_key: RecoveryKeyFiles = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write keys and files to this new folder (0700); without it only names"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Open the recovery bundle of the running database: a test of the recovery key."""
    with failing():
        keys = read_recovery_keys(recovery_key)
        if not keys:
            raise BackupError("--recovery-key FILE is needed")
        bundle = asyncio.run(_read_live_bundle(find_installation(data_dir).target, keys))
        show_bundle(bundle, out)


async def _read_live_bundle(target: BackupTarget, keys: Sequence[RecoveryPrivateKey]) -> RecoveryBundle:
    connection = await connect_to_cluster(target)
    try:
        stored = await read_bundles(connection)
    finally:
        await connection.close()
    if not stored:
        raise BackupError("the database has no recovery bundle yet: `vigie maintain` seals it")
    return open_bundles(stored, keys, report_progress)


def show_bundle(bundle: RecoveryBundle, out: Path | None) -> None:
    """Print what is in a bundle, and write it into a folder if one is named."""
    typer.echo(f"Encryption keys: {len(bundle.encryption_keys)}. Files: {len(bundle.files)}")
    for path in bundle.write(out) if out is not None else sorted(bundle.files):
        typer.echo(f"  {path}")


def read_recovery_keys(paths: Sequence[Path] | None) -> list[RecoveryPrivateKey]:
    """Read the private parts of recovery keys (RecoveryKeyError)."""
    return [
        RecoveryPrivateKey.parse(
            sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")
        )
        for path in paths or ()
    ]


def find_installation(data_dir: Path | None) -> BackupInstallation:
    """Find the installation by the settings or the data directory (StandaloneError)."""
    return find_backup_installation(data_dir, read_valid_settings(BackupCommandSettings).backup)


def _find_sealer(found: BackupInstallation) -> SecretSealer | None:
    """Return the encryption keys that this process may read; None without any."""
    settings = read_valid_settings(BackupCommandSettings).encryption
    if found.layout is not None and found.layout.keys_file.exists():
        settings = EncryptionSettings(keys_file=found.layout.keys_file)
    sealer = SecretSealer.of(settings)
    return sealer if sealer.ready else None


def run_until_terminated[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a command that removes its copies at its end; SIGTERM cancels it, as SIGINT does."""

    async def run() -> T:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise typer.Exit(_TERMINATED) from None


@contextmanager
def failing(command: str = "vigie backup", *, scheduled: bool = False) -> Iterator[None]:
    """Turn errors of a command into messages and exit statuses; for a timer, nothing to do is a success."""
    try:
        yield
    except NotDueError as error:
        fail(error, 0 if scheduled else _CANNOT, command)
    except DamagedBackupError as error:
        fail(error, _DAMAGED, command)
    except (BackupError, RecoveryKeyError, StandaloneError, SealingError) as error:
        fail(error, _CANNOT, command)
    except FileExistsError as error:
        fail(BackupError(f"{error.filename} exists. Name another file or folder"), _CANNOT, command)
    except OSError as error:
        fail(error, _CANNOT, command)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(RuntimeError(f"the database failed: {error}"), _CANNOT, command)


def format_bytes(number: int) -> str:
    """Format a size for people."""
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIBIBYTE:
            return f"{size:.0f} {unit}"
        size /= _KIBIBYTE
    return f"{size:.1f} TiB"


def format_list(backups: list[BackupEntry]) -> Iterator[str]:
    """Format the list of backups as a table."""
    if not backups:
        yield "The repository has no backup."
        return
    yield f"{'backup':<34} {'type':<5} {'ended (UTC)':<17} {'database':>9} {'stored':>9}  verified (UTC)"
    for each in backups:
        if each.verified_at is not None:
            verified = _format_time(each.verified_at)
        else:
            verified = "no" if each.restore_point else "no checksums"
        yield (
            f"{each.label:<34} {each.kind:<5} {_format_time(each.finished_at):<17} "
            f"{format_bytes(each.database_bytes):>9} {format_bytes(each.repository_bytes):>9}  {verified}"
        )


def _format_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
