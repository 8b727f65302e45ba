"""Makes haproxy in front of the machines, with `deploy/ha/haproxy.cfg`; reads its counts, drains machines."""

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
from tools.clusters.machine_processes import API_PORT, METRICS_PORTS, MQTT_PORT, MQTTS_PORT

_SOCKET: Final = "haproxy.sock"
# Of the program's other open files: listeners, checks, its socket.
_RESERVED_FILES: Final = 200
_CONNECTIONS: Final = 20_000


def make_haproxy(
    folder: Path,
    machines: Sequence[Machine],
    *,
    http: Sequence[str],
    https: Sequence[str],
    mqtt: Sequence[str],
    mqtts: Sequence[str],
    certificate: Path,
) -> ProgramComponent:
    """Write its configuration, and make the program. It runs beside the machines, not in one of them.

    Args:
        folder: Its files.
        machines: The machines behind it.
        http: Where it listens for HTTP, each as `host:port`.
        https: Where it listens for HTTPS.
        mqtt: Where it listens for MQTT.
        mqtts: Where it listens for MQTT with TLS, which ends at the brokers.
        certificate: Its certificate and key for HTTPS, in one file, which exists before it starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = render_deploy_file(
        "ha/haproxy.cfg",
        connections=count_connections(),
        socket=folder / _SOCKET,
        http=",".join(http),
        https=",".join(https),
        certificate=certificate,
        mqtt=",".join(mqtt),
        mqtts=",".join(mqtts),
        edge_port=METRICS_PORTS["edge"],
        brokers=_list_servers(machines, MQTT_PORT, "check"),
        tls_brokers=_list_servers(machines, MQTTS_PORT, "track mosquitto/{name}"),
        tls_brokers_without_edge=_list_servers(machines, MQTTS_PORT, "track mosquitto_without_edge/{name}"),
        apis=_list_servers(machines, API_PORT, "check"),
    )
    config = folder / "haproxy.cfg"
    replace_file_text(config, text)
    words = build_file_limit_command([find_server("haproxy", "haproxy"), "-db", "-f", str(config)])
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return ProgramComponent("haproxy", NodePlace(), folder, {}, None, words, environment)


def count_connections() -> int:
    """Return how many connections the limit of open files permits: each has two sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        _CONNECTIONS if most == resource.RLIM_INFINITY else min(_CONNECTIONS, (most - _RESERVED_FILES) // 2)
    )


def _list_servers(machines: Sequence[Machine], port: int, health: str) -> str:
    return "\n".join(
        f"    server {each.name} {each.host}:{port} {health.format(name=each.name)}" for each in machines
    )


async def _ask(folder: Path, command: str) -> str:
    """Send a command to haproxy's socket, and return its answer (OSError)."""
    reader, writer = await asyncio.open_unix_connection(str(folder / _SOCKET))
    try:
        writer.write(f"{command}\n".encode())
        return (await reader.read()).decode()
    finally:
        writer.close()


async def set_server_state(folder: Path, backend: str, machine: str, state: str) -> None:
    """Take a machine out of a backend, or back.

    Args:
        folder: The folder of haproxy.
        backend: The backend. Those that track it follow.
        machine: The machine.
        state: `drain`: no further connections; `maint`: its connections are closed too; `ready`.

    Raises:
        OSError: haproxy does not run, or refuses.
    """
    answer = (await _ask(folder, f"set server {backend}/{machine} state {state}")).strip()
    if answer:
        raise OSError(answer)


async def read_servers(folder: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """Return state and connections by (backend, machine); OSError while haproxy does not run."""
    text = await _ask(folder, "show stat")
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): (row["status"], int(row["scur"] or 0))
        for row in rows
        if row["svname"] not in {"FRONTEND", "BACKEND"}
    }
