"""Provides `vigie secrets …`: generates, replaces and lists secrets.

Exit status: 1 while work is left, 2 if nothing could be done.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from app.platform.db.database import RawConnection
    from app.platform.secrets.resealing import SealingKeyUsage
    from app.platform.secrets.sealing import SecretSealer
    from app.standalone.secret_rotation import RotationTarget

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

_REFUSED: Final = 2
_LEFT: Final = 1
# This role sees the encrypted values of all organisations.
_ROLE: Final = "vigie_maintain"

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Data directory of `vigie up`; by default the installation in the settings, else .vigie"
    ),
]


class ReplaceableSecret(StrEnum):
    """The secrets that can be replaced."""

    ENCRYPTION = "encryption"
    ADMIN = "admin"
    BROKER = "broker"


@app.callback()
def main() -> None:
    """Make secrets, replace them, and see what is sealed with which key."""


@app.command()
def generate(
    *,
    keys_file: Annotated[
        Path | None, typer.Option(help="Write the encryption key to this new file, and name that")
    ] = None,
    compose: Annotated[bool, typer.Option("--compose", help="Print those that compose.yaml reads")] = False,
) -> None:
    """Print the secrets of a new installation, as lines of a `.env` file. They are not stored."""
    from app.standalone.secret_store import generate_compose_lines, generate_env_lines  # noqa: PLC0415

    with _refusing():
        if compose and keys_file is not None:
            _refuse("--keys-file and --compose exclude each other: the containers read the key from `.env`")
        typer.echo(generate_compose_lines() if compose else generate_env_lines(keys_file), nl=False)


@app.command()
def rotate(
    *,
    what: Annotated[
        ReplaceableSecret, typer.Option(help="The encryption key, or secrets of `vigie up`")
    ] = ReplaceableSecret.ENCRYPTION,
    data_dir: DataDir = None,
) -> None:
    """Replace a secret with a new one."""
    from app.standalone import secret_rotation  # noqa: PLC0415

    with _refusing():
        target = _find_target(data_dir)
        if what is ReplaceableSecret.ENCRYPTION:
            new, *former = secret_rotation.add_encryption_key(target)
            typer.echo(_rotated(new, former))
            return
        if target.layout is None:
            _refuse(
                "these are secrets of `vigie up`: name its --data-dir. "
                "For other installations see docs/operations/secrets.md"
            )
        if what is ReplaceableSecret.BROKER:
            secret_rotation.replace_broker_passwords(target.layout)
            typer.echo(
                "The broker's accounts `ingest` and `gateway` get new passwords when `vigie up` restarts. "
                "Then give the new password in run.json to gateways."
            )
            return
        revoked = asyncio.run(secret_rotation.replace_admin_key(target.layout, target.settings))
        typer.echo("The administrator has a new key, in secrets.json and run.json.")
        if not revoked:
            typer.echo("The former key could not be identified: revoke it (`DELETE /v1/api-keys/{id}`).")
            raise typer.Exit(_LEFT)
        typer.echo("The former key is revoked.")


def _rotated(new: str, former: list[str]) -> str:
    return (
        f"The key {new} seals from now on, before {', '.join(former)}. Running processes read the file "
        "again: no restart is needed.\n"
        "`maintain` re-encrypts older values within a minute (`vigie secrets reseal` does it now).\n"
        "When `vigie secrets status` shows none under the former keys, remove these with "
        "`vigie secrets forget`. Older backups need them: keep a copy with these."
    )


@app.command()
def status(*, data_dir: DataDir = None) -> None:
    """Count secrets per encryption key; exits 1 while some are not encrypted with the first key."""
    from app.platform.secrets.resealing import count_sealed_values  # noqa: PLC0415

    async def look(connection: "RawConnection", sealer: "SecretSealer") -> int:
        found = await count_sealed_values(connection)
        for line in format_status_lines(sealer.names, found):
            typer.echo(line)
        first = sealer.names[0] if sealer.names else None
        return _LEFT if any(use.key is None or use.key != first for use in found) else 0

    _with_database(data_dir, look)


def format_status_lines(keys: list[str], found: "list[SealingKeyUsage]") -> Iterator[str]:
    """Format the output of `status`.

    Args:
        keys: The names of the keys, the current one first.
        found: The number of values per key and column.
    """
    for position, key in enumerate(keys):
        usage = _describe_usage(found, key)
        if position == 0:
            yield f"{key}  seals; {usage or 'nothing yet'}"
        else:
            yield f"{key}  opens only; {usage or 'nothing: it can be removed (`vigie secrets forget`)'}"
    for key in sorted({use.key for use in found if use.key is not None and use.key not in keys}):
        yield f"{key}  is not here; {_describe_usage(found, key)} cannot be opened"
    if clear := _describe_usage(found, None):
        yield f"in clear: {clear}"
    if not keys:
        yield "There is no key."


def _describe_usage(found: "list[SealingKeyUsage]", key: str | None) -> str:
    mine = [use for use in found if use.key == key]
    total = sum(use.values for use in mine)
    each = ", ".join(f"{use.column} {use.values}" for use in mine)
    return f"{total} ({each})" if mine else ""


@app.command()
def reseal(*, data_dir: DataDir = None) -> None:
    """Encrypt everything with the first key now; exits 1 if some values are left."""
    from app.platform.secrets.resealing import SecretResealer  # noqa: PLC0415

    async def seal(connection: "RawConnection", sealer: "SecretSealer") -> int:
        left = await SecretResealer(sealer).reseal_due(connection)
        if left:
            typer.echo(f"{left} are left: they cannot be decrypted, or were being changed.")
            return _LEFT
        typer.echo("Everything is sealed under the first key.")
        return 0

    _with_database(data_dir, seal)


@app.command()
def forget(*, data_dir: DataDir = None) -> None:
    """Remove former encryption keys that encrypt nothing in the database any more."""
    from app.platform.secrets.resealing import count_sealed_values  # noqa: PLC0415
    from app.standalone.secret_rotation import list_key_names, remove_unused_keys  # noqa: PLC0415

    async def look(connection: "RawConnection", _: "SecretSealer") -> int:
        in_use = {use.key for use in await count_sealed_values(connection) if use.key is not None}
        target = _find_target(data_dir)
        removed = remove_unused_keys(target, in_use)
        typer.echo(f"Removed: {', '.join(removed) or 'none'}. Left: {', '.join(list_key_names(target))}.")
        return 0

    _with_database(data_dir, look)


def _find_target(data_dir: Path | None) -> "RotationTarget":
    from app.settings import read_settings  # noqa: PLC0415
    from app.standalone.secret_rotation import find_rotation_target  # noqa: PLC0415

    return find_rotation_target(data_dir, read_settings())


def _with_database(
    data_dir: Path | None, work: "Callable[[RawConnection, SecretSealer], Awaitable[int]]"
) -> None:
    """Run a function on the database and keys of the installation; its result is the exit status."""
    from app.platform.secrets.sealing import SecretSealer  # noqa: PLC0415
    from app.standalone.command_database_connection import connect_for_command  # noqa: PLC0415

    async def run(target: "RotationTarget") -> int:
        if target.database is None:
            _refuse(f"{target.title} does not run: start it first")
        async with connect_for_command(
            target.database, application="vigie-secrets", role=_ROLE
        ) as connection:
            return await work(connection, SecretSealer.of(target.encryption))

    with _refusing():
        raise typer.Exit(asyncio.run(run(_find_target(data_dir))))


@contextmanager
def _refusing() -> Iterator[None]:
    """Print an expected error as one line, and exit with status 2."""
    from app.platform.db.database import DATABASE_ERRORS  # noqa: PLC0415
    from app.platform.secrets.sealing import SealingError  # noqa: PLC0415
    from app.standalone.unprivileged_accounts import StandaloneError  # noqa: PLC0415

    try:
        yield
    except (StandaloneError, SealingError) as error:
        _refuse(str(error))
    except DATABASE_ERRORS as error:
        _refuse(f"the database failed: {type(error).__name__}: {error}")


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"vigie: {reason}\n")
    raise typer.Exit(_REFUSED)
