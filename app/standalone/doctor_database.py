"""Checks the database for `vigie doctor`: roles, stored mail settings, the recovery bundle, and TimescaleDB.

Vigie compresses no chunks (docs/decisions/0024-no-compressed-chunks.md). The Apache edition reads a
compressed chunk of another edition as empty, without an error.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from app.standalone.doctor import DoctorFinding
from app.standalone.private_postgres import LOGINS

if TYPE_CHECKING:
    from app.platform.config.platform_settings import DatabaseSettings
    from app.standalone.insecure_settings import LoginPrivileges

_ROLES_CHECK: Final = "database roles"
_CHUNKS_CHECK: Final = "TimescaleDB"


def check_database_roles() -> Iterator[DoctorFinding]:
    """Check that this login may use the processes' roles; yields nothing if no database is named."""
    if (settings := find_named_database()) is not None:
        yield from examine_roles(settings)


def find_named_database() -> "DatabaseSettings | None":
    """Return the database that the settings name; None if there is none or they are invalid."""
    # Imported here, because its dependencies may be missing.
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415

    try:
        settings = read_settings().database
    except InvalidSettingsError:
        return None  # reported with the settings
    return settings if "url" in settings.model_fields_set else None


def check_stored_mail() -> Iterator[DoctorFinding]:
    """Check the mail server set by the API; yields nothing if the environment sets one."""
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415 (as above)
    from app.settings import read_settings  # noqa: PLC0415 (as above)
    from app.standalone.login_privilege_reader import CONNECTION_ERRORS  # noqa: PLC0415 (as above)

    try:
        smtp = read_settings().smtp
    except InvalidSettingsError:
        return
    if smtp.host is not None or (settings := find_named_database()) is None:
        return
    try:
        found = asyncio.run(_stored_mail(settings.url))
    except (*CONNECTION_ERRORS, asyncpg.PostgresError):
        return  # faults of the database are reported above
    where = "none: set one with PUT /v1/settings/mail, or VIGIE_SMTP__HOST (docs/email.md)"
    if found is not None:
        value = json.loads(found)
        where = f"{value['host']}, port {value['port']}, {value['security']}; set by the API"
    yield DoctorFinding("note" if found is None else "ok", "mail server", where)


async def _stored_mail(url: str) -> str | None:
    from app.platform.runtime.stored_settings import read_stored_mail_server  # noqa: PLC0415 (as above)
    from app.standalone.login_privilege_reader import connect_with_timeout  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
        return await read_stored_mail_server(connection)


def check_recovery_bundle() -> Iterator[DoctorFinding]:
    """Check that the settings have the keys of the sealed bundle; yields nothing without backups."""
    from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415 (as above)
    from app.platform.secrets.sealing import derive_key_name  # noqa: PLC0415 (as above)
    from app.settings import read_settings  # noqa: PLC0415 (as above)
    from app.standalone.unprivileged_accounts import StandaloneError  # noqa: PLC0415 (as above)

    try:
        settings = read_settings()
        key_names = [derive_key_name(key) for key in settings.encryption.key_bytes()]
    except (InvalidSettingsError, ValueError):
        return  # reported with the settings
    if settings.backup.public_key is None or (database := find_named_database()) is None:
        return
    try:
        lost = asyncio.run(_find_lost_keys(database, key_names))
    except (StandaloneError, asyncpg.PostgresError):
        return  # faults of the database are reported above
    subject = "recovery bundle"
    if lost:
        yield DoctorFinding(
            "missing",
            subject,
            f"secrets need {', '.join(lost)}, which is sealed in it and not set here: `maintain` does not "
            "replace it, and newer keys are in no backup",
            "add the key at the end of the encryption keys (docs/runbooks/VigieRecoveryKeysLost.md)",
        )
    else:
        yield DoctorFinding("ok", subject, "has no key that is needed and not set here")


async def _find_lost_keys(settings: "DatabaseSettings", key_names: list[str]) -> list[str]:
    from app.backups.backup_repository import find_lost_keys  # noqa: PLC0415 (as above)
    from app.standalone.command_database_connection import connect_for_command  # noqa: PLC0415 (as above)

    async with connect_for_command(settings, application="vigie-doctor", role="vigie_maintain") as connection:
        return await find_lost_keys(connection, key_names)


def examine_roles(settings: "DatabaseSettings") -> Iterator[DoctorFinding]:
    """Check the roles of a database's server with the login of the settings. Blocks for seconds."""
    from app.standalone.login_privilege_reader import CONNECTION_ERRORS  # noqa: PLC0415 (as above)

    try:
        login, missing = asyncio.run(_read_login_and_roles(settings.url))
    except CONNECTION_ERRORS as error:
        # Not the error's text, which may contain the address with its password.
        yield DoctorFinding("note", _ROLES_CHECK, f"the database does not answer ({type(error).__name__})")
        return
    fix = f"psql -v owner={login.name} -f deploy/roles.sql, as an administrator of the server"
    refused = [name for name in LOGINS if name not in login.holds]
    if missing:
        yield DoctorFinding("missing", _ROLES_CHECK, f"there is no {', '.join(missing)}", fix)
    elif login.name in LOGINS:
        yield DoctorFinding("ok", _ROLES_CHECK, f"{login.name} is the login of one process")
    elif refused:
        yield DoctorFinding(
            "missing", _ROLES_CHECK, f"{login.name} may not SET ROLE {', '.join(refused)}", fix
        )
    else:
        yield DoctorFinding("ok", _ROLES_CHECK, f"{login.name} may work as each")
        yield from _check_excess_privileges(login)


def _check_excess_privileges(login: "LoginPrivileges") -> Iterator[DoctorFinding]:
    """Yield privileges beyond one process: after SET ROLE NONE, a process has all of its login again."""
    fix = "VIGIE_DATABASE__URL of each process with its own login (docs/operations/database-roles.md)"
    no_start = "api, ingest, deliver and maintain do not start with it"
    if login.superuser:
        yield DoctorFinding(
            "missing",
            _ROLES_CHECK,
            f"{login.name} bypasses all access rules of the database: {no_start}",
            fix,
        )
    elif login.owner:
        owns = f"{login.name} owns the tables, which only `vigie migrate` needs: {no_start}"
        yield DoctorFinding("note", _ROLES_CHECK, owns, fix)
    else:
        several = f"{login.name} holds several roles: an attacker of one process can act as any of them"
        yield DoctorFinding("note", _ROLES_CHECK, several, fix)


async def _read_login_and_roles(url: str) -> "tuple[LoginPrivileges, list[str]]":
    """Return the login, and the roles that are missing."""
    from app.standalone.login_privilege_reader import connect_with_timeout, read_login  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", LOGINS)
        known = {row["rolname"] for row in rows}
        return await read_login(connection), [name for name in LOGINS if name not in known]


_EDITION: Final = """
SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension
WHERE extname = 'timescaledb'
"""
_COMPRESSED: Final = """
SELECT count(*) FROM timescaledb_information.chunks
WHERE is_compressed AND hypertable_name IN ('samples', 'hourly', 'daily')
"""


class TimescaleEdition(NamedTuple):
    """The installed TimescaleDB.

    Attributes:
        version: for example 2.19.3.
        license: `apache`, or `timescale`, which can compress.
        compressed: number of compressed chunks of Vigie's tables.
    """

    version: str
    license: str
    compressed: int


def check_chunks() -> Iterator[DoctorFinding]:
    """Yield the edition and compressed chunks; nothing if no database is named."""
    if (settings := find_named_database()) is not None:
        yield from examine_chunks(settings)


def examine_chunks(settings: "DatabaseSettings") -> Iterator[DoctorFinding]:
    """Check the chunks of one database. Blocks for seconds."""
    from app.standalone.login_privilege_reader import CONNECTION_ERRORS  # noqa: PLC0415 (its dependencies may be missing)

    try:
        edition = asyncio.run(_read_edition(settings.url))
    except CONNECTION_ERRORS:
        return  # reported with the database roles
    if edition is None:
        return  # reported by `vigie migrate`
    said = f"{edition.version}, edition {edition.license}: chunks are not compressed"
    if not edition.compressed:
        yield DoctorFinding("ok", _CHUNKS_CHECK, said)
        return
    yield DoctorFinding(
        "missing",
        _CHUNKS_CHECK,
        f"{edition.compressed} chunks are compressed: the Apache edition reads them as empty, and answers, "
        "roll-ups and erasures are wrong without an error",
        "SELECT decompress_chunk(…) of each, with the edition that compressed them "
        "(docs/operations/limits.md)",
    )


async def _read_edition(url: str) -> TimescaleEdition | None:
    from app.standalone.login_privilege_reader import connect_with_timeout  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        row = await connection.fetchrow(_EDITION)
        if row is None:
            return None
        return TimescaleEdition(row[0], row[1] or "unknown", int(await connection.fetchval(_COMPRESSED)))
