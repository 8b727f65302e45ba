"""Makes haproxy in front of the machines, with `deploy/ha/haproxy.cfg`, and reads its counts."""

import asyncio
import csv
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.unprivileged_accounts import build_file_limit_command
from tools.clusters.city_components import Machine, ProgramComponent
from tools.clusters.cluster_nodes import NodePlace, find_server
from tools.clusters.machine_processes import API_PORT, METRICS_PORTS, MQTT_PORT

_SOCKET: Final = "haproxy.sock"
# Of the program's other open files: listeners, checks, its socket.
_RESERVED_FILES: Final = 200
_CONNECTIONS: Final = 20_000


def make_haproxy(
    folder: Path, machines: Sequence[Machine], *, http: Sequence[str], mqtt: Sequence[str]
) -> ProgramComponent:
    """Write its configuration, and make the program. It runs beside the machines, not in one of them.

    Args:
        folder: Its files.
        machines: The machines behind it.
        http: Where it listens for HTTP, each as `host:port`.
        mqtt: Where it listens for MQTT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = render_deploy_file(
        "ha/haproxy.cfg",
        connections=_count_connections(),
        socket=folder / _SOCKET,
        http=",".join(http),
        mqtt=",".join(mqtt),
        edge_port=METRICS_PORTS["edge"],
        brokers=_list_servers(machines, MQTT_PORT),
        apis=_list_servers(machines, API_PORT),
    )
    config = folder / "haproxy.cfg"
    replace_file_text(config, text)
    words = build_file_limit_command([find_server("haproxy", "haproxy"), "-db", "-f", str(config)])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return ProgramComponent("haproxy", NodePlace(), folder, {}, None, words, environment)


def _count_connections() -> int:
    """Return how many connections the limit of open files permits: each has two sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        _CONNECTIONS if most == resource.RLIM_INFINITY else min(_CONNECTIONS, (most - _RESERVED_FILES) // 2)
    )


def _list_servers(machines: Sequence[Machine], port: int) -> str:
    return "\n".join(f"    server {machine.name} {machine.host}:{port} check" for machine in machines)


async def read_servers(folder: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """Return state and connections by (backend, machine); OSError while haproxy does not run."""
    reader, writer = await asyncio.open_unix_connection(str(folder / _SOCKET))
    try:
        writer.write(b"show stat\n")
        text = (await reader.read()).decode()
    finally:
        writer.close()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): (row["status"], int(row["scur"] or 0))
        for row in rows
        if row["svname"] not in {"FRONTEND", "BACKEND"}
    }
