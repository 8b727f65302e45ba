"""Roles, databases and the extension inside a running private PostgreSQL.

Tables are the migrations' business.
"""

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.service_accounts import StandaloneError

_PATIENCE_S = 10.0
# The API stores what comes in by HTTP as the ingest role does, and reads the public register as one that sees
# nothing else. The owner's login is the operator's: it may look at what runs, and end it, and reaches
# everything unless a process says otherwise.
_OPERATOR = """
GRANT vigie_ingest, vigie_public TO vigie_api WITH INHERIT FALSE, SET TRUE;
GRANT vigie_public TO "{owner}" WITH INHERIT FALSE, SET TRUE;
GRANT pg_monitor, pg_signal_backend TO "{owner}";
ALTER ROLE "{owner}" SET vigie.reach = 'all'
"""


async def make_database(
    admin_url: str, name: str, owner: str, password: str, logins: Mapping[str, str]
) -> None:
    """Make the roles and the database where they are missing.

    Args:
        admin_url: a database that is always there, as the superuser.
        name: the database.
        owner: the role; it may not do more than own the database.
        password: the role's, of letters, digits, `-` and `_` only.
        logins: those under which the processes work, by name, with their passwords.
    """
    connection = await asyncpg.connect(admin_url, timeout=_PATIENCE_S)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", owner):
            # A utility statement takes no parameters; nothing in this alphabet needs quoting.
            await connection.execute(f"CREATE ROLE \"{owner}\" LOGIN PASSWORD '{password}'")
        for role, secret in logins.items():
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{secret}'")
                await connection.execute(f'GRANT "{role}" TO "{owner}" WITH INHERIT FALSE, SET TRUE')
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'vigie_public'"):
            await connection.execute("CREATE ROLE vigie_public NOLOGIN")
        await connection.execute(_OPERATOR.format(owner=owner))
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"')
    finally:
        await connection.close()


async def make_extension(admin_url: str, superuser_url: str, memory: Path) -> None:
    """Make TimescaleDB's extension, or bring it to the version of the library that is installed now.

    Args:
        admin_url: a database without the extension.
        superuser_url: the database that is to have it.
        memory: a file that remembers the version of the last start.

    Raises:
        EmbeddedError: the library is not installed.
    """
    outside = await asyncpg.connect(admin_url, timeout=_PATIENCE_S)
    try:
        available = await outside.fetchval(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
    finally:
        await outside.close()
    if available is None:
        raise StandaloneError("TimescaleDB is missing: apt-get install postgresql-17-timescaledb")
    last = _remembered(memory) or available
    inside = await asyncpg.connect(superuser_url, timeout=_PATIENCE_S)
    try:
        # An update must be a session's first statement: the old version's library may be gone.
        if last != available:
            await inside.execute("ALTER EXTENSION timescaledb UPDATE")
        else:
            await inside.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    finally:
        await inside.close()
    replace_file_text(memory, available)


def _remembered(memory: Path) -> str:
    return memory.read_text(encoding="utf-8") if memory.exists() else ""


async def copy_database(admin_url: str, name: str, *, template: str, owner: str) -> None:
    """Make the database `name` as a copy of `template`, whose connections are ended for it."""
    connection = await asyncpg.connect(admin_url, timeout=_PATIENCE_S)
    try:
        # TimescaleDB's scheduler sits in every database with the extension and would block the copy; ended,
        # it comes back at once, unless the door is shut.
        await connection.execute(f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS false')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", template
        )
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER "{owner}"')
    finally:
        await connection.execute(f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS true')
        await connection.close()
