"""What `vigie doctor` says of the database's roles, where the settings name a database."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import asyncpg

from app.embedded.doctor import Finding
from app.embedded.postgres import LOGINS

if TYPE_CHECKING:
    from app.core.settings import DatabaseSettings

_WHAT: Final = "database roles"
_PATIENCE_S: Final = 5.0
_FAULTS: Final = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)


def database() -> Iterator[Finding]:
    """Whether this login may work under the processes' roles; nothing where no database is named."""
    # Here: what they are made with may be what is missing.
    from app.core.settings import InvalidSettingsError, read_settings  # noqa: PLC0415

    try:
        settings = read_settings().database
    except InvalidSettingsError:
        return  # told with the settings
    if "url" in settings.model_fields_set:
        yield from examine(settings)


def examine(settings: "DatabaseSettings") -> Iterator[Finding]:
    """The roles of a database's server, as the login of the settings finds them. Blocks, for seconds."""
    try:
        login, missing, refused = asyncio.run(_look(settings.url))
    except _FAULTS as error:
        # Neither the address nor the error's text, which may have it: a password is in there.
        yield Finding("note", _WHAT, f"the database does not answer ({type(error).__name__})")
        return
    mend = f"psql -v owner={login} -f deploy/roles.sql, as an administrator of the server"
    if missing:
        yield Finding("missing", _WHAT, f"there is no {', '.join(missing)}", mend)
    elif login in LOGINS:
        yield Finding("ok", _WHAT, f"{login} is the login of one process")
    elif refused:
        yield Finding("missing", _WHAT, f"{login} may not SET ROLE {', '.join(refused)}", mend)
    else:
        yield Finding("ok", _WHAT, f"{login} may work as each")


async def _look(url: str) -> tuple[str, list[str], list[str]]:
    """Who logs in, which roles are missing, and which ones that login may not take."""
    connection = await asyncpg.connect(url, timeout=_PATIENCE_S, command_timeout=_PATIENCE_S)
    try:
        login: str = await connection.fetchval("SELECT session_user")
        there = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", LOGINS)
        known = {row["rolname"] for row in there}
        refused = [
            name
            for name in LOGINS
            if name in known and not await connection.fetchval("SELECT pg_has_role($1, 'SET')", name)
        ]
    finally:
        await connection.close()
    return login, [name for name in LOGINS if name not in known], refused
