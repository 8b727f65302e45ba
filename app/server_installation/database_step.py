"""Creates Vigie's own PostgreSQL cluster beside existing ones, with its roles and its database."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from app.server_installation.changes import DesiredPath, MachineChange, find_path_changes
from app.server_installation.deploy_files import find_deploy_file, render_deploy_file
from app.server_installation.installation_context import (
    InstallationContext,
    is_unit_active,
    read_cluster_port,
)
from app.server_installation.rendered_settings import build_server_url
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import (
    ACCOUNT,
    CLUSTER_NAME,
    CLUSTER_UNIT,
    CLUSTER_VERSION,
    PATRONI_UNIT,
    ROLES,
)
from app.server_installation.server_secrets import load_or_generate_secrets
from app.server_installation.system_commands import run_program, run_sql
from app.standalone.login_privilege_reader import CONNECTION_ERRORS, connect_with_timeout
from app.standalone.postgres_config import choose_postgres_memory
from app.standalone.private_postgres import DATABASE, LOGINS, OWNER, SUPERUSER, build_postgres_url
from app.standalone.unprivileged_accounts import StandaloneError

# It always exists.
_ANY = "postgres"
# With the owner's login, administrators inspect the server and end hanging sessions.
_OPERATOR = f'GRANT pg_monitor, pg_signal_backend TO "{OWNER}"'
_EXTENSION = """
SELECT extversion <> default_version FROM pg_extension JOIN pg_available_extensions ON name = extname
WHERE extname = 'timescaledb'
"""
_ROLES = "SELECT rolname FROM pg_roles"
_DATABASES = "SELECT datname FROM pg_database"


def find_cluster_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the cluster is missing, is configured differently, or does not run."""
    if context.options.database_hosts:
        return []  # Patroni's
    changes = []
    if read_cluster_port() is None:
        changes.append(
            MachineChange(f"create the PostgreSQL cluster {CLUSTER_VERSION}/{CLUSTER_NAME}", _create_cluster)
        )
    text = render_cluster_conf(context.total_bytes)
    wanted = DesiredPath(context.paths.cluster_conf / "vigie.conf", text, 0o644, SUPERUSER, SUPERUSER)
    changes += find_path_changes([wanted], lambda _: _note_conf_change(context))
    if not is_unit_active(CLUSTER_UNIT):
        changes.append(
            MachineChange(f"start {CLUSTER_UNIT}", lambda: run_program("systemctl", "start", CLUSTER_UNIT))
        )
    return changes


def render_cluster_conf(total_bytes: int) -> str:
    """Render the cluster's configuration for a machine with this much memory."""
    memory = choose_postgres_memory(total_bytes)
    return render_deploy_file(
        "server/postgresql/vigie.conf",
        total_mib=total_bytes // 2**20,
        shared_buffers=memory.shared_buffers,
        effective_cache_size=memory.effective_cache_size,
        maintenance_work_mem=memory.maintenance_work_mem,
        work_mem=memory.work_mem,
    )


def _note_conf_change(context: InstallationContext) -> None:
    if is_unit_active(CLUSTER_UNIT):
        # Some values need a restart, which an administrator decides: `vigie doctor` names these values.
        context.reload.add(CLUSTER_UNIT)


def _create_cluster() -> None:
    locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8")
    run_program(
        *("pg_createcluster", CLUSTER_VERSION, CLUSTER_NAME, "--start-conf=auto"),
        *("--", "--encoding=UTF8", "--data-checksums", *locale),
    )


def find_database_changes(context: InstallationContext) -> list[MachineChange]:
    """Find roles, passwords, the database and the extension's version that are missing or differ."""
    passwords = load_or_generate_secrets(context.paths).database
    if context.options.database_hosts:
        return _find_patroni_changes(context.options, passwords)
    port = read_cluster_port()
    if port is None or not is_unit_active(CLUSTER_UNIT):
        return [MachineChange("create the database's roles and the database", lambda: None)]
    return list(_find_database_changes(port, passwords, partial(build_postgres_url, port, database=_ANY)))


def _find_patroni_changes(options: ServerOptions, passwords: Mapping[str, str]) -> list[MachineChange]:
    """Find what the database under Patroni lacks. Only the machine of the primary can create it.

    Raises:
        StandaloneError: It lacks something, and this machine does not have the primary.
    """
    build_url = partial(build_server_url, options, 0)
    port = int(options.database_hosts.split(",")[0].rpartition(":")[2])
    if all(can_log_in(build_url(_login(name), passwords[name])) for name in ("migrate", *ROLES)):
        return []
    if not is_unit_active(PATRONI_UNIT) or run_sql(port, "SELECT pg_is_in_recovery()") != ["f"]:
        raise StandaloneError(
            "The database does not accept the logins of /etc/vigie yet. Run this first on the machine of the "
            "primary (`patronictl -c /etc/patroni/vigie.yml list`), and copy its settings here "
            "(docs/operations/cluster.md)"
        )
    return list(_find_database_changes(port, passwords, partial(build_url, database=_ANY)))


def _login(name: str) -> str:
    return OWNER if name == "migrate" else f"{ACCOUNT}_{name}"


def _find_database_changes(
    port: int, passwords: Mapping[str, str], build_url: Callable[[str, str], str]
) -> Iterator[MachineChange]:
    roles, databases = set(run_sql(port, _ROLES)), set(run_sql(port, _DATABASES))
    if OWNER not in roles:
        yield MachineChange(
            f"create the role {OWNER}, the owner", lambda: run_sql(port, f'CREATE ROLE "{OWNER}" LOGIN')
        )
    if missing := [name for name in (*LOGINS, "vigie_public") if name not in roles]:
        yield MachineChange(f"create the roles {', '.join(missing)} (roles.sql)", lambda: _create_roles(port))
    for name in ("migrate", *ROLES):
        login, password = _login(name), passwords[name]
        if login not in roles or not can_log_in(build_url(login, password)):
            yield MachineChange(
                f"set the password of {login}",
                partial(run_sql, port, f"ALTER ROLE \"{login}\" PASSWORD '{password}'"),
            )
    if DATABASE not in databases:
        yield MachineChange(
            f"create the database {DATABASE}",
            lambda: run_sql(port, f'CREATE DATABASE "{DATABASE}" OWNER "{OWNER}"'),
        )
    elif run_sql(port, _EXTENSION, database=DATABASE) == ["t"]:
        yield MachineChange(
            "update TimescaleDB to the installed version",
            lambda: run_sql(port, "ALTER EXTENSION timescaledb UPDATE", database=DATABASE),
        )


def _create_roles(port: int) -> None:
    sql = find_deploy_file("roles.sql").read_text(encoding="utf-8")
    run_sql(port, f"{sql}\n{_OPERATOR};\n", variables=[f"owner={OWNER}"])


def can_log_in(url: str) -> bool:
    """Return whether a database accepts a login."""

    async def log_in() -> None:
        async with connect_with_timeout(url):
            pass

    try:
        asyncio.run(log_in())
    except CONNECTION_ERRORS:
        return False
    return True
