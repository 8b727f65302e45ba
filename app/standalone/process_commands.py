"""Builds the command lines and environments of Vigie's processes."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.standalone.orphan_processes import MARKER
from app.standalone.unprivileged_accounts import build_run_as_command

ROLES = ("api", "ingest", "deliver", "maintain")
# A process can be killed at any time without data loss, and must not outlive its supervisor.
_DEATH_SIGNAL = "KILL"
_WORKERS_MAX = 8
# Secrets, and the processes that use them: an attacker of another process must not find them there.
_SECRETS = {
    "VIGIE_BOOTSTRAP_ADMIN_KEY": ("api",),
    "VIGIE_ENCRYPTION__KEYS": ("api", "deliver", "maintain"),
    "VIGIE_ENCRYPTION__KEYS_FILE": ("api", "deliver", "maintain"),
    "VIGIE_SMTP__PASSWORD": ("deliver",),
}


@dataclass(frozen=True, slots=True)
class StackOptions:
    """The options of `vigie up`.

    Attributes:
        data_dir: the data directory.
        port: the API's port; 0 chooses a free one.
        roles: the processes to run, of ROLES.
        demo: whether to simulate a city.
        services: whether to run a private PostgreSQL and Mosquitto instead of those in the settings.
    """

    data_dir: Path = Path(".vigie")
    port: int = 8000
    roles: Sequence[str] = ROLES
    demo: bool = True
    services: bool = True


@dataclass(frozen=True, slots=True)
class ServiceConnections:
    """What processes need to connect to the private services.

    `database` is the address for its owner, and `logins` has the address for each process role.
    """

    database: str
    logins: Mapping[str, str]
    broker_port: int
    ingest_password: str
    ingest_client_id: str
    password_file: Path
    static_password_file: Path
    pid_file: Path


def build_command(*words: str) -> list[str]:
    """Build the command line of `vigie <words>` with the current Python.

    `-P` removes the working directory from the module path, since it may contain another folder named `app`.
    """
    return build_run_as_command(None, [sys.executable, "-P", "-m", "app", *words], death_signal=_DEATH_SIGNAL)


def count_api_workers(cores: int) -> int:
    """Return how many workers serve the API: one for two cores, as the database needs the others."""
    return max(1, min(cores // 2, _WORKERS_MAX))


def build_stack_environment(
    *,
    marker: str,
    metrics: Path,
    host: str,
    port: int,
    admin_key: str,
    keys_file: Path,
    roles: Sequence[str],
    services: ServiceConnections | None,
    base: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Build the common environment of all processes: the supervisor's own, with its overrides.

    Args:
        marker: identifies the processes of this stack to a later supervisor.
        metrics: the folder of Prometheus files.
        host: the API's address.
        port: the API's port.
        admin_key: the platform administrator's key.
        keys_file: the file of encryption keys: the first one encrypts, all decrypt.
        roles: the processes that run; `/readyz` waits for each.
        services: the private services; None leaves database and broker to the settings.
        base: replaces `os.environ` in tests.
    """
    inherited = dict(os.environ if base is None else base)
    needed = ["database", "migrations", *(role for role in roles if role != "api")]
    defaults = {
        # Operators can override these.
        "VIGIE_WEBHOOKS__ALLOW_PRIVATE": "true",
        "VIGIE_API__READY_REQUIRES": json.dumps(needed),
        "VIGIE_API__WORKERS": str(count_api_workers(os.cpu_count() or 1)),
        "PYTHONUNBUFFERED": "1",
    }
    overrides = {
        MARKER: marker,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "VIGIE_API__HOST": host,
        "VIGIE_API__PORT": str(port),
        "VIGIE_BOOTSTRAP_ADMIN_KEY": admin_key,
        # A file, which processes can read again. The value is empty, since `.env` may have keys.
        "VIGIE_ENCRYPTION__KEYS": "[]",
        "VIGIE_ENCRYPTION__KEYS_FILE": str(keys_file),
    }
    if services is not None:
        defaults["VIGIE_INGEST__CLIENT_ID"] = services.ingest_client_id
        overrides |= {
            "VIGIE_DATABASE__URL": services.database,
            "VIGIE_BROKER__HOST": "127.0.0.1",
            "VIGIE_BROKER__PORT": str(services.broker_port),
            "VIGIE_BROKER__USERNAME": "ingest",
            "VIGIE_BROKER__PASSWORD": services.ingest_password,
            "VIGIE_BROKER__PASSWORD_FILE": str(services.password_file),
            "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(services.static_password_file),
            "VIGIE_BROKER__PID_FILE": str(services.pid_file),
            # Processes use the loopback listener.
            "VIGIE_BROKER__TLS__ENABLED": "false",
        }
    return {**defaults, **inherited, **overrides}


def build_process_environment(
    role: str, variables: Mapping[str, str], logins: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Build the environment of one process, without secrets that it does not need.

    Args:
        role: One of ROLES, or another command: `migrate`, `demo`.
        variables: The result of `build_stack_environment`.
        logins: Addresses of the private database by process role; other commands get the owner's.
    """
    own = {"VIGIE_DATABASE__URL": logins[role]} if logins and role in logins else {}
    permitted = {
        name: value for name, value in variables.items() if role in _SECRETS.get(name.upper(), (role,))
    }
    return permitted | own
