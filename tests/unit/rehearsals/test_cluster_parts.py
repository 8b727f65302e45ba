"""The parts of `make cluster` and of its drill: files of `deploy/ha`, ledgers, remains of a crash."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from app.standalone.free_ports import find_free_port
from tools.clusters import cluster_folder
from tools.clusters.box_load import BoxLedger, is_alarm
from tools.clusters.city_components import Machine
from tools.clusters.cluster_nodes import NodePlace
from tools.clusters.drill_cases import CASES
from tools.clusters.drill_results import CaseResult
from tools.clusters.haproxy_config import make_haproxy, read_servers
from tools.clusters.machine_processes import CitySecrets, MachineBuilder
from tools.clusters.network_namespaces import find_network_remains


def make_machines(folder: Path) -> list[Machine]:
    return [Machine(f"machine{number}", NodePlace(), folder / f"machine{number}") for number in (1, 2, 3)]


async def test_haproxy_starts_with_the_shipped_file_and_finds_no_server(tmp_path: Path) -> None:
    haproxy = make_haproxy(
        tmp_path,
        make_machines(tmp_path),
        http=[f"127.0.0.1:{find_free_port()}"],
        mqtt=[f"127.0.0.1:{find_free_port()}"],
    )
    await haproxy.start()
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    servers = await read_servers(tmp_path)
                except OSError:
                    assert haproxy.is_running, haproxy.log.read_text()
                    await asyncio.sleep(0.1)
                    continue
                if all(state == "DOWN" for state, _ in servers.values()):
                    break
                await asyncio.sleep(0.1)
        assert {backend for backend, _ in servers} == {"mosquitto", "mosquitto_without_edge", "api"}
        assert {machine for _, machine in servers} == {"machine1", "machine2", "machine3"}
    finally:
        await haproxy.stop()


def test_each_machine_has_all_parts_and_no_value_is_left_open(tmp_path: Path) -> None:
    machines = make_machines(tmp_path)
    builder = MachineBuilder(
        tmp_path, machines, "127.0.0.0/24", "127.0.0.1", CitySecrets(), partitions=6, settings={}
    )
    for machine in machines:
        builder.add_components(machine)
        texts = {path.name: path.read_text() for path in machine.folder.rglob("*") if path.is_file()}
        assert {"etcd.yml", "patroni.yml", "nats.conf", "mosquitto.conf", "vigie.conf"} <= texts.keys()
        assert not [name for name, text in texts.items() if "${" in text]
        assert len(machine.components) == 10
    edge = builder.make_role(machines[1], "edge")
    assert edge.environment["VIGIE_EDGE__NAME"] == "machine2"
    assert edge.environment["VIGIE_DATABASE__URL"].startswith("postgresql://vigie_maintain:")
    assert edge.environment["VIGIE_DATABASE__URL"].count(":5432") == 3


def test_a_box_repeats_what_is_not_acknowledged() -> None:
    ledger = BoxLedger("box", index=0)
    began = time.monotonic()
    payloads = [ledger.make_sample() for _ in range(3)]
    times = [json.loads(payload)["time"] for payload in payloads]
    assert times == sorted({*times}), "a box and a time identify a sample"
    ledger.note_ack(1)
    ledger.note_ack(1)
    assert list(ledger.pending.values()) == [payloads[0], payloads[2]]
    assert ledger.newest_acked >= began


def test_an_alarm_stands_alone_in_two_hundred_samples() -> None:
    for index in (0, 47):
        alarms = [seq for seq in range(400) if is_alarm(index, seq)]
        assert len(alarms) == 2
        assert alarms[1] - alarms[0] == 200


def test_the_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {"machine:cut", "log-leader:kill", "postgres-primary:suspend", "haproxy:kill"} <= set(names)


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({}, True),
        ({"told_twice": 1}, True),
        ({"stored": 9}, False),
        ({"twice": 1}, False),
        ({"spurious": 1}, False),
    ],
)
def test_a_result_is_good_if_nothing_is_lost_twice_or_wrong(
    changes: dict[str, int], *, is_good: bool
) -> None:
    values = {"published": 10, "stored": 10, "twice": 0, "due": 2, "unfired": 0, "spurious": 0}
    values |= {"untold": 0, "told_twice": 0} | changes
    result = CaseResult(name="edge:kill", victim="machine1: edge", gap_s=1.25, http=(0, 9), **values)
    assert result.is_good is is_good
    assert f"| {values['published'] - values['stored']} |" in result.format_row()


_CRASHING = """
import asyncio, subprocess, sys
from tools.clusters.cluster_folder import note_network, open_cluster_folder
from tools.clusters.network_namespaces import NamespaceNetwork

async def main():
    async with open_cluster_folder(keeps=False, say=lambda text: None) as folder:
        network = NamespaceNetwork(1)
        note_network(folder, network.name)
        async with network:
            words = [*network.places[0].launcher, "sleep", "600"]
            left = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
            print(folder, network.name, left.pid, flush=True)
            await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_the_next_start_removes_what_a_crash_has_left() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CRASHING, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        folder, network, pid = (await process.stdout.readline()).decode().split()
    lines: list[str] = []
    await cluster_folder.remove_crashed_clusters(lines.append)
    assert not any(folder in line for line in lines), "it still runs"
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert await find_network_remains(network)
    await cluster_folder.remove_crashed_clusters(lines.append)
    assert any(folder in line for line in lines)
    assert await cluster_folder.find_remains(Path(folder), network) == []
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
