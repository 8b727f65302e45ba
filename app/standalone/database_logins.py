"""Reads the privileges of the database login; `security_audit` judges them."""

import asyncio
from typing import TYPE_CHECKING, Final

import asyncpg

from app.standalone.private_postgres import LOGINS
from app.standalone.security_audit import LoginPrivileges

if TYPE_CHECKING:
    from app.platform.config.settings import DatabaseSettings

PATIENCE_S: Final = 5.0
CONNECTION_ERRORS: Final = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What asking may raise. Neither is to be shown: the address is in there, with its password."""

# Of everybody's roles a superuser is a member: that it owns the tables says nothing more of it.
_LOGIN: Final = """
SELECT session_user::text AS name, r.rolsuper OR r.rolbypassrls AS superuser,
    NOT r.rolsuper AND EXISTS (
        SELECT FROM pg_class c WHERE c.oid = to_regclass('public.organisations')
            AND pg_has_role(session_user, c.relowner, 'MEMBER')
    ) AS owner,
    ARRAY(
        SELECT rolname::text FROM pg_roles
        WHERE rolname = ANY ($1) AND pg_has_role(session_user, oid, 'SET') ORDER BY rolname
    ) AS holds
FROM pg_roles r WHERE r.rolname = session_user
"""


async def read_login(connection: asyncpg.Connection) -> LoginPrivileges:
    """What a connection's database says of who logged in."""
    row = await connection.fetchrow(_LOGIN, LOGINS)
    if row is None:
        raise ValueError("nobody is logged in")
    return LoginPrivileges(row["name"], row["superuser"], row["owner"], tuple(row["holds"]))


def connect_and_read_login(
    settings: "DatabaseSettings", patience_s: float = PATIENCE_S
) -> LoginPrivileges | None:
    """Ask the database of the settings; None where it does not answer. Blocks, for seconds at most."""

    async def look() -> LoginPrivileges:
        connection = await asyncpg.connect(settings.url, timeout=patience_s, command_timeout=patience_s)
        try:
            return await read_login(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(look())
    except CONNECTION_ERRORS:
        return None
