"""Runs `make cluster`: the demo city on three machines behind haproxy, as namespaces of this one. As root.

It prints the state of each part every few seconds, and takes everything down at Ctrl-C or SIGTERM.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.child_process import ChildProcess, StopStep
from app.standalone.process_commands import build_command
from tools.clusters.city_cluster import PACKAGES, CityCluster, is_answering
from tools.clusters.cluster_folder import find_remains, note_network, open_cluster_folder
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.machine_processes import MQTT_PORT
from tools.rehearsals.report import RehearsalError, install_packages

_EVERY_S: Final = 5.0
_STOP_DEMO: Final = (StopStep(signal.SIGTERM, 6.0),)
_CITY_S: Final = 120.0


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def cancel_on_signals() -> None:
    """Let SIGINT and SIGTERM cancel the present task, so that it cleans up."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


class DemoCity:
    """The simulators of the demo city, which reach the cluster through haproxy.

    Args:
        cluster: The cluster.
        port: The port of the API on 127.0.0.1.
    """

    def __init__(self, cluster: CityCluster, port: int) -> None:
        self._cluster = cluster
        self._folder = cluster.folder / "demo"
        self._api = f"http://127.0.0.1:{port}"
        self._child: ChildProcess | None = None

    async def start(self) -> None:
        """Start the simulators, and wait until the city has boxes that send.

        Raises:
            ClusterError: It has none after two minutes.
        """
        self._folder.mkdir()
        secrets = self._cluster.secrets
        run = {
            "api": self._api,
            "admin_key": secrets.admin_key,
            "mqtt": {
                "host": self._cluster.mqtt_host,
                "port": MQTT_PORT,
                "username": "gateway",
                "password": secrets.brokers["gateway"],
            },
            "database": None,
        }
        replace_file_text(self._folder / "run.json", json.dumps(run))
        words = ("simulate", "demo", "--run", str(self._folder / "run.json"))
        self._child = await ChildProcess.start(
            build_command(*words, "--receiver-name", self._cluster.network.address),
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
            log=self._folder / "demo.log",
            folder=self._folder,
        )
        await self._cluster.wait_for("samples of the demo city", self._has_samples, _CITY_S)

    async def _has_samples(self) -> bool:
        return bool(await self._cluster.read_value("SELECT EXISTS (SELECT FROM samples)"))

    def describe(self) -> list[str]:
        """Return how to reach the city."""
        lines = [f"API and console: {self._api}  MQTT: {self._cluster.mqtt_host}:{MQTT_PORT}"]
        state = self._folder / "demo.json"
        if state.exists():
            found = json.loads(state.read_text(encoding="utf-8"))
            lines.append(f"Sign in as {found['operator_email']} with {found['operator_password']}")
        return lines

    async def stop(self) -> None:
        """Stop the simulators."""
        if self._child is not None:
            await self._child.stop(_STOP_DEMO)


async def run_cluster(*, port: int, minutes: float, keeps: bool) -> int:
    """Run until a stop request, or for some minutes; returns the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()

    def on_signal() -> None:
        # Once everything runs, the wait ends; before that, the start is cancelled.
        if stop.is_set() or main is None:
            return
        stop.set()
        if not is_up:
            main.cancel()

    is_up = False
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    folder, network, status = Path(), "", 0
    try:
        async with open_cluster_folder(keeps=keeps, say=say) as folder:
            cluster = CityCluster(folder, http=(f"127.0.0.1:{port}",), say=say)
            network = cluster.network.name
            note_network(folder, network)
            began = time.monotonic()
            async with cluster:
                city = DemoCity(cluster, port)
                try:
                    await city.start()
                    say(f"The demo city runs: {time.monotonic() - began:.0f} s")
                    is_up = True
                    await _show(cluster, city, stop, minutes)
                finally:
                    say("Stopping ...")
                    await city.stop()
    except asyncio.CancelledError:
        say("Stopped before everything ran.")
    except ClusterError as error:
        say(str(error))
        status = 1
    return await _check_remains(folder, network, keeps=keeps) or status


async def _show(cluster: CityCluster, city: DemoCity, stop: asyncio.Event, minutes: float) -> None:
    until = time.monotonic() + minutes * 60 if minutes else float("inf")
    while not stop.is_set() and time.monotonic() < until:
        lines = [time.strftime("%H:%M:%S"), *city.describe(), *await cluster.states.describe()]
        clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else ""
        say(clear + "\n".join(lines) + "\n")
        try:
            async with asyncio.timeout(_EVERY_S):
                await stop.wait()
        except TimeoutError:
            continue


async def _check_remains(folder: Path, network: str, *, keeps: bool) -> int:
    remains = [each for each in await find_remains(folder, network) if not (keeps and each == str(folder))]
    if remains:
        say(f"Left behind: {', '.join(remains)}")
        return 1
    say("Nothing is left: no process, namespace, bridge" + (" or link." if keeps else ", link or file."))
    return 0


def main(
    *,
    port: Annotated[int, typer.Option(help="Port of the API and the console on 127.0.0.1")] = 8000,
    minutes: Annotated[float, typer.Option(min=0.0, help="Stop after so many minutes; 0: at Ctrl-C")] = 0.0,
    keeps: Annotated[bool, typer.Option("--keep", help="Leave the files and logs at the end")] = False,
) -> None:
    """Run the demo city on three machines behind haproxy, as root."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say("`make cluster` makes network namespaces: run it as root, on Debian 13.")
        sys.exit(2)
    try:
        install_packages(PACKAGES)
    except RehearsalError as error:
        say(str(error))
        sys.exit(1)
    if is_answering(f"http://127.0.0.1:{port}/healthz"):
        say(f'Port {port} is taken: choose another one, for example ARGS="--port {port + 1}".')
        sys.exit(2)
    sys.exit(asyncio.run(run_cluster(port=port, minutes=minutes, keeps=keeps)))
