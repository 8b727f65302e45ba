"""Creates roles, databases and the TimescaleDB extension in a private PostgreSQL."""

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.unprivileged_accounts import StandaloneError

_TIMEOUT_S = 10.0
# The API stores HTTP ingest as `vigie_ingest`, and reads the public register as `vigie_public`, which sees
# nothing else. The owner's login is for the operator: it may inspect and end sessions, and has the full
# tenant scope unless a process restricts it.
_OPERATOR = """
GRANT vigie_ingest, vigie_public TO vigie_api WITH INHERIT FALSE, SET TRUE;
GRANT vigie_public TO "{owner}" WITH INHERIT FALSE, SET TRUE;
GRANT pg_monitor, pg_signal_backend TO "{owner}";
ALTER ROLE "{owner}" SET vigie.reach = 'all'
"""


async def make_database(
    admin_url: str, name: str, owner: str, password: str, logins: Mapping[str, str]
) -> None:
    """Create the roles and the database where they are missing.

    Args:
        admin_url: a database that always exists, as the superuser.
        name: the database.
        owner: the role that owns the database, without further rights.
        password: the owner's password, of letters, digits, `-` and `_` only.
        logins: the logins of the processes by name, with their passwords.
    """
    connection = await asyncpg.connect(admin_url, timeout=_TIMEOUT_S)
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
    """Create the TimescaleDB extension, or update it to the installed version of the library.

    Args:
        admin_url: a database without the extension.
        superuser_url: the database for the extension.
        memory: a file with the version of the last start.

    Raises:
        StandaloneError: the library is not installed.
    """
    outside = await asyncpg.connect(admin_url, timeout=_TIMEOUT_S)
    try:
        available = await outside.fetchval(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
    finally:
        await outside.close()
    if available is None:
        raise StandaloneError("TimescaleDB is missing: apt-get install postgresql-17-timescaledb")
    last = _read_last_version(memory) or available
    inside = await asyncpg.connect(superuser_url, timeout=_TIMEOUT_S)
    try:
        # An update must be a session's first statement: the old version's library may be gone.
        if last != available:
            await inside.execute("ALTER EXTENSION timescaledb UPDATE")
        else:
            await inside.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    finally:
        await inside.close()
    replace_file_text(memory, available)


def _read_last_version(memory: Path) -> str:
    return memory.read_text(encoding="utf-8") if memory.exists() else ""


async def copy_database(admin_url: str, name: str, *, template: str, owner: str) -> None:
    """Create a database as a copy of `template`, whose connections are terminated.

    Args:
        admin_url: a database that always exists, as the superuser.
        name: the new database.
        template: the database to copy.
        owner: the owner of the new database.
    """
    connection = await asyncpg.connect(admin_url, timeout=_TIMEOUT_S)
    try:
        # TimescaleDB's scheduler is connected to every database with the extension and would block the copy.
        # It reconnects immediately unless connections are forbidden.
        await connection.execute(f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS false')
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", template
        )
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER "{owner}"')
    finally:
        await connection.execute(f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS true')
        await connection.close()
