"""Checks database roles, and the mail settings stored in the database, for `vigie doctor`."""

import asyncio
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import asyncpg

from app.standalone.doctor import DoctorFinding
from app.standalone.private_postgres import LOGINS

if TYPE_CHECKING:
    from app.platform.config.settings import DatabaseSettings
    from app.standalone.insecure_settings import LoginPrivileges

_WHAT: Final = "database roles"


def check_database_roles() -> Iterator[DoctorFinding]:
    """Check that this login may use the processes' roles; yields nothing if no database is named."""
    if (settings := find_named_database()) is not None:
        yield from examine_roles(settings)


def find_named_database() -> "DatabaseSettings | None":
    """Return the database that the settings name; None if there is none or they are invalid."""
    # Imported here, because its dependencies may be what is missing.
    from app.platform.config.settings import InvalidSettingsError  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415

    try:
        settings = read_settings().database
    except InvalidSettingsError:
        return None  # reported with the settings
    return settings if "url" in settings.model_fields_set else None


def check_stored_mail() -> Iterator[DoctorFinding]:
    """Check the mail server set by the API; yields nothing if the environment sets one."""
    from app.platform.config.settings import InvalidSettingsError  # noqa: PLC0415 (as above)
    from app.settings import read_settings  # noqa: PLC0415 (as above)
    from app.standalone.login_privileges import CONNECTION_ERRORS  # noqa: PLC0415 (as above)

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
    from app.standalone.login_privileges import connect_with_timeout  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
        row: str | None = await connection.fetchval(
            "SELECT value::text FROM installation_settings WHERE name = 'mail'"
        )
    return row


def examine_roles(settings: "DatabaseSettings") -> Iterator[DoctorFinding]:
    """Check the roles of a database's server with the login of the settings. Blocks for seconds."""
    from app.standalone.login_privileges import CONNECTION_ERRORS  # noqa: PLC0415 (as above)

    try:
        login, missing = asyncio.run(_read_login_and_roles(settings.url))
    except CONNECTION_ERRORS as error:
        # Not the error's text, which may contain the address with its password.
        yield DoctorFinding("note", _WHAT, f"the database does not answer ({type(error).__name__})")
        return
    mend = f"psql -v owner={login.name} -f deploy/roles.sql, as an administrator of the server"
    refused = [name for name in LOGINS if name not in login.holds]
    if missing:
        yield DoctorFinding("missing", _WHAT, f"there is no {', '.join(missing)}", mend)
    elif login.name in LOGINS:
        yield DoctorFinding("ok", _WHAT, f"{login.name} is the login of one process")
    elif refused:
        yield DoctorFinding("missing", _WHAT, f"{login.name} may not SET ROLE {', '.join(refused)}", mend)
    else:
        yield DoctorFinding("ok", _WHAT, f"{login.name} may work as each")
        yield from _check_excess_privileges(login)


def _check_excess_privileges(login: "LoginPrivileges") -> Iterator[DoctorFinding]:
    """Yield privileges beyond one process: after SET ROLE NONE, a process has all of its login again."""
    mend = "VIGIE_DATABASE__URL of each process with its own login (docs/operations.md, Database roles)"
    no_start = "api, ingest, deliver and maintain do not start with it"
    if login.superuser:
        yield DoctorFinding(
            "missing", _WHAT, f"{login.name} bypasses all access rules of the database: {no_start}", mend
        )
    elif login.owner:
        owns = f"{login.name} owns the tables, which only `vigie migrate` needs: {no_start}"
        yield DoctorFinding("note", _WHAT, owns, mend)
    else:
        several = f"{login.name} holds several roles: an attacker of one process can act as any of them"
        yield DoctorFinding("note", _WHAT, several, mend)


async def _read_login_and_roles(url: str) -> "tuple[LoginPrivileges, list[str]]":
    """Return the login, and the roles that are missing."""
    from app.standalone.login_privileges import connect_with_timeout, read_login  # noqa: PLC0415 (as above)

    async with connect_with_timeout(url) as connection:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", LOGINS)
        known = {row["rolname"] for row in rows}
        return await read_login(connection), [name for name in LOGINS if name not in known]
