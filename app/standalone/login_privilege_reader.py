"""Reads the privileges of the database login; `insecure_settings` evaluates them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg

from app.platform.db.primary_connection import PrimaryConnector
from app.standalone.insecure_settings import LoginPrivileges
from app.standalone.private_postgres import LOGINS

if TYPE_CHECKING:
    from app.platform.config.platform_settings import DatabaseSettings

TIMEOUT_S: Final = 5.0
CONNECTION_ERRORS: Final = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Errors of a query. Their text must not be shown, since it may contain the address with its password."""

# A superuser is a member of all roles, so ownership of the tables adds nothing.
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


@asynccontextmanager
async def connect_with_timeout(url: str, timeout_s: float = TIMEOUT_S) -> AsyncIterator[asyncpg.Connection]:
    """Connect for a few queries, each with a timeout."""
    connection = await PrimaryConnector(url).connect(timeout=timeout_s, command_timeout=timeout_s)
    try:
        yield connection
    finally:
        await connection.close()


async def read_login(connection: asyncpg.Connection) -> LoginPrivileges:
    """Return the privileges of the login of a connection."""
    row = await connection.fetchrow(_LOGIN, LOGINS)
    if row is None:
        raise ValueError("no login was found")
    return LoginPrivileges(row["name"], row["superuser"], row["owner"], tuple(row["holds"]))


def connect_and_read_login(
    settings: "DatabaseSettings", timeout_s: float = TIMEOUT_S
) -> LoginPrivileges | None:
    """Query the database of the settings; None if it does not answer. Blocks for up to the timeout (s)."""

    async def read() -> LoginPrivileges:
        async with connect_with_timeout(settings.url, timeout_s) as connection:
            return await read_login(connection)

    try:
        return asyncio.run(read())
    except CONNECTION_ERRORS:
        return None
