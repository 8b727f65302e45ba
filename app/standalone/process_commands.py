"""The roles as child processes: their command lines and environment."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.standalone.orphan_processes import MARKER
from app.standalone.service_accounts import build_run_as_command

ROLES = ("api", "ingest", "deliver", "maintain")
# A role may die at any moment without loss, and must not outlive its supervisor even when it hangs.
_DEATH_SIGNAL = "KILL"
# Secrets, and which roles use them: whoever breaks into another one must not find them there.
_SECRETS = {
    "VIGIE_BOOTSTRAP_ADMIN_KEY": ("api",),
    "VIGIE_ENCRYPTION__KEYS": ("api", "deliver", "maintain"),
    "VIGIE_ENCRYPTION__KEYS_FILE": ("api", "deliver", "maintain"),
    "VIGIE_SMTP__PASSWORD": ("deliver",),
}


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What `vigie up` was asked for.

    `data_dir`: where everything is kept. `port`: the API's; 0 picks a free one. `roles`: which of ROLES
    run. `demo`: simulate a city. `services`: bring PostgreSQL and Mosquitto along, instead of using the
    ones that the settings name.
    """

    data_dir: Path = Path(".vigie")
    port: int = 8000
    roles: Sequence[str] = ROLES
    demo: bool = True
    services: bool = True


@dataclass(frozen=True, slots=True)
class ServiceConnections:
    """What the roles must know of the private services.

    `database` is the address for its owner, `logins` those for each role.
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
    """The command line of `vigie <words>`, by this very Python.

    `-P` keeps the working directory out of the module path: another folder named `app` may be there.
    """
    return build_run_as_command(None, [sys.executable, "-P", "-m", "app", *words], death_signal=_DEATH_SIGNAL)


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
    """What the environments of all roles hold: the supervisor's own, with what it decides on top.

    Args:
        marker: by which a later supervisor recognises what this one left behind.
        metrics: the folder of Prometheus' files.
        host: the API's address.
        port: the API's port.
        admin_key: the platform administrator's key.
        keys_file: of encryption keys: the first seals clients' secrets, all open them.
        roles: those that run: `/readyz` waits for each.
        services: the private ones; None leaves database and broker to the settings.
        base: stands for `os.environ` in tests.
    """
    inherited = dict(os.environ if base is None else base)
    needed = ["database", "migrations", *(role for role in roles if role != "api")]
    asked = {
        # An operator's own word on these is kept.
        "VIGIE_WEBHOOKS__ALLOW_PRIVATE": "true",
        "VIGIE_API__READY_REQUIRES": json.dumps(needed),
        "PYTHONUNBUFFERED": "1",
    }
    decided = {
        MARKER: marker,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "VIGIE_API__HOST": host,
        "VIGIE_API__PORT": str(port),
        "VIGIE_BOOTSTRAP_ADMIN_KEY": admin_key,
        # A file that can be followed. Said to be none by value: there may be some in `.env`.
        "VIGIE_ENCRYPTION__KEYS": "[]",
        "VIGIE_ENCRYPTION__KEYS_FILE": str(keys_file),
    }
    if services is not None:
        asked["VIGIE_INGEST__CLIENT_ID"] = services.ingest_client_id
        decided |= {
            "VIGIE_DATABASE__URL": services.database,
            "VIGIE_BROKER__HOST": "127.0.0.1",
            "VIGIE_BROKER__PORT": str(services.broker_port),
            "VIGIE_BROKER__USERNAME": "ingest",
            "VIGIE_BROKER__PASSWORD": services.ingest_password,
            "VIGIE_BROKER__PASSWORD_FILE": str(services.password_file),
            "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(services.static_password_file),
            "VIGIE_BROKER__PID_FILE": str(services.pid_file),
            # The roles use the listener on the loopback.
            "VIGIE_BROKER__TLS__ENABLED": "false",
        }
    return {**asked, **inherited, **decided}


def build_process_environment(
    role: str, variables: Mapping[str, str], logins: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of one process: `variables`, without the secrets that it has no use for.

    Args:
        role: One of ROLES, or what else is run: `migrate`, `demo`.
        variables: What `build_stack_environment` gave.
        logins: Addresses of the private database for each role; others are given the owner's.
    """
    own = {"VIGIE_DATABASE__URL": logins[role]} if logins and role in logins else {}
    mine = {name: value for name, value in variables.items() if role in _SECRETS.get(name.upper(), (role,))}
    return mine | own
