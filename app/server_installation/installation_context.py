"""Holds the paths, options and pending restarts that the steps of an installation share."""

from dataclasses import dataclass, field

from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import CLUSTER_NAME, CLUSTER_VERSION, ServerPaths
from app.server_installation.system_commands import read_program_output

_FIRST_PORT = 5432


@dataclass(slots=True)
class InstallationContext:
    """The state of one run of the installer.

    Attributes:
        paths: The paths of the server.
        options: The options.
        total_bytes: The machine's memory.
        restart: Units to restart at the end, because their files changed.
        reload: Units to reload at the end.
        command: What runs: `install` or `certificate`.
    """

    paths: ServerPaths
    options: ServerOptions
    total_bytes: int
    restart: set[str] = field(default_factory=set)
    reload: set[str] = field(default_factory=set)
    command: str = "install"


def read_cluster_port() -> int | None:
    """Return the port of Vigie's cluster; None if there is no cluster."""
    for line in read_program_output("pg_lsclusters", "--no-header").splitlines():
        fields = line.split()
        if fields[:2] == [CLUSTER_VERSION, CLUSTER_NAME]:
            return int(fields[2])
    return None


def find_cluster_port() -> int:
    """Return the port of Vigie's cluster, or the first one if there is no cluster yet."""
    return read_cluster_port() or _FIRST_PORT


def is_unit_active(unit: str) -> bool:
    """Return whether a unit is active."""
    return read_program_output("systemctl", "is-active", unit) == "active"


def is_unit_enabled(unit: str) -> bool:
    """Return whether a unit starts with the machine."""
    return read_program_output("systemctl", "is-enabled", unit) == "enabled"


def is_unit_failed(unit: str) -> bool:
    """Return whether the last run of a unit failed."""
    return read_program_output("systemctl", "is-failed", unit) == "failed"
