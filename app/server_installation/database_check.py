"""Checks the cluster and the database of a server for `vigie doctor`."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import READ_OLDEST_PROGRAM, find_revision_fault, is_newer_revision
from app.server_installation.installation_context import read_cluster_port
from app.server_installation.server_paths import CLUSTER_NAME, CLUSTER_UNIT, CLUSTER_VERSION
from app.server_installation.server_secrets import DATABASE_URL
from app.server_installation.system_commands import run_sql
from app.standalone.doctor import DoctorFinding
from app.standalone.doctor_database import examine_chunks
from app.standalone.login_privilege_reader import CONNECTION_ERRORS, connect_with_timeout
from app.standalone.private_postgres import LOGINS
from app.standalone.unprivileged_accounts import StandaloneError

_PENDING: Final = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name"
_CLUSTER: Final = f"{CLUSTER_VERSION}/{CLUSTER_NAME}"


def check_postgres_cluster() -> Iterator[DoctorFinding]:
    """Check that the cluster of PostgreSQL exists and runs with its configuration."""
    subject = "cluster"
    port = read_cluster_port()
    if port is None:
        yield DoctorFinding("missing", subject, f"there is no {_CLUSTER}", "sh deploy/install.sh --server")
        return
    try:
        pending = run_sql(port, _PENDING)
    except StandaloneError as error:
        yield DoctorFinding(
            "missing", subject, str(error).splitlines()[-1].strip(), f"journalctl -u {CLUSTER_UNIT}"
        )
        return
    if pending:
        said = f"{', '.join(pending)} have new values, which apply after a restart"
        yield DoctorFinding("note", subject, said, f"systemctl restart {CLUSTER_UNIT}")
    yield DoctorFinding("ok", subject, f"{_CLUSTER} answers on port {port}")


def check_database(variables: Mapping[str, str]) -> Iterator[DoctorFinding]:
    """Check the schema, the roles and the chunks.

    Args:
        variables: The owner's settings.
    """
    url = variables.get(DATABASE_URL)
    if not url:
        return  # reported with the files
    subject = "database"
    try:
        revision, fault, missing = asyncio.run(_read_state(url))
    except CONNECTION_ERRORS as error:
        yield DoctorFinding(
            "missing",
            subject,
            f"the owner cannot log in ({type(error).__name__})",
            "sh deploy/install.sh --server",
        )
        return
    if missing:
        yield DoctorFinding(
            "missing", subject, f"there is no role {', '.join(missing)}", "sh deploy/install.sh --server"
        )
    if fault:
        yield DoctorFinding("missing", subject, f"the schema {fault}", "systemctl restart vigie.target")
    else:
        yield DoctorFinding("ok", subject, f"the schema is at {revision}, and all roles exist")
        yield from examine_chunks(DatabaseSettings(url=url))


async def _read_state(url: str) -> tuple[str | None, str, list[str]]:
    """Return the schema's revision, why this release cannot run on it, and the roles that are missing."""
    async with connect_with_timeout(url) as connection:
        present = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        revision = await connection.fetchval("SELECT version_num FROM alembic_version") if present else None
        newer = revision is not None and is_newer_revision(revision)
        oldest = await connection.fetchval(READ_OLDEST_PROGRAM) if newer else None
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", LOGINS)
        known = {row["rolname"] for row in rows}
        return revision, find_revision_fault(revision, oldest), [name for name in LOGINS if name not in known]
