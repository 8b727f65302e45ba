"""The parts of `make cluster` and of its drill: files of `deploy/ha`, ledgers, remains of a crash."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
import yaml

from app.server_installation.deploy_files import find_deploy_file
from app.standalone.free_ports import find_free_port
from tools.clusters import cluster_folder
from tools.clusters.box_load import BoxLedger, is_alarm
from tools.clusters.city_components import ROLES, Machine
from tools.clusters.cluster_nodes import NodePlace
from tools.clusters.cluster_usage import count_sent_bytes
from tools.clusters.drill_cases import CASES
from tools.clusters.drill_results import AlertCounts, CaseResult
from tools.clusters.edge_probes import AccountEnd
from tools.clusters.fleet_returns import Returns, find_quantiles
from tools.clusters.haproxy_config import make_haproxy, read_servers
from tools.clusters.machine_processes import CitySecrets, MachineBuilder
from tools.clusters.network_namespaces import NamespaceNetwork, find_network_remains
from tools.clusters.rolling_upgrade import STOP_ORDER, UpgradeOutcome


def make_machines(folder: Path) -> list[Machine]:
    return [Machine(f"machine{number}", NodePlace(), folder / f"machine{number}") for number in (1, 2, 3)]


async def test_haproxy_starts_with_the_shipped_file_and_finds_no_server(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate-and-key.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    haproxy = make_haproxy(
        tmp_path,
        make_machines(tmp_path),
        http=[f"127.0.0.1:{find_free_port()}"],
        https=[f"127.0.0.1:{find_free_port()}"],
        mqtt=[f"127.0.0.1:{find_free_port()}"],
        mqtts=[f"127.0.0.1:{find_free_port()}"],
        certificate=certificate,
    )
    await haproxy.start()
    try:
        async with asyncio.timeout(60):
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
        assert {backend for backend, _ in servers} == {
            *("mosquitto", "mosquitto_without_edge", "mosquitto_tls", "mosquitto_tls_without_edge", "api")
        }
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
        # Scripts have variables of their own.
        assert not [name for name, text in texts.items() if "${" in text and not name.endswith(".sh")]
        assert len(machine.components) == 10
    edge = builder.make_role(machines[1], "edge")
    assert edge.environment["VIGIE_EDGE__NAME"] == "machine2"
    assert edge.environment["VIGIE_DATABASE__URL"].startswith("postgresql://vigie_maintain:")
    assert edge.environment["VIGIE_DATABASE__URL"].count(":5432") == 3


def test_each_event_of_patroni_archives_missing_wal() -> None:
    # Patroni kills a callback that still runs when it starts the next one.
    callbacks = yaml.safe_load(find_deploy_file("ha/patroni.yml").read_text())["postgresql"]["callbacks"]
    assert callbacks.keys() == {"on_role_change", "on_restart", "on_start"}
    assert len({*callbacks.values()}) == 1


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
    assert {"other-machine:cut", "log-leader:kill", "postgres-primary:suspend", "haproxy:kill"} <= set(names)


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({}, True),
        ({"delivered_twice": 1}, True),
        ({"stored": 9}, False),
        ({"twice": 1}, False),
        ({"gap_s": None}, False),
        ({"alerts": AlertCounts(due=2, spurious=1)}, False),
        ({"alerts": AlertCounts(due=2, two_ids=1)}, False),
        ({"failure": "three machines that work: not within 180 s"}, False),
    ],
)
def test_a_result_is_good_if_nothing_is_lost_twice_or_wrong(
    changes: dict[str, Any], *, is_good: bool
) -> None:
    result = CaseResult("edge:kill", "machine1: edge", 10, 10, 0, 1.25, AlertCounts(due=2), 0, (0, 9))
    result = replace(result, **changes)
    assert result.is_good is is_good
    row = result.format_row()
    assert result.failure in row
    assert row.count("|") == CaseResult("edge:kill", failure="no cluster").format_row().count("|")


_NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
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


@_NEEDS_ROOT
async def test_a_network_leaves_no_link_at_its_end() -> None:
    async with NamespaceNetwork(5) as network:
        assert len(await find_network_remains(network.name)) == 11
    assert await find_network_remains(network.name) == []


@_NEEDS_ROOT
async def test_the_next_start_removes_what_a_crash_has_left() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CRASHING, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
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


def test_a_quantile_is_the_first_time_at_which_so_many_had_returned() -> None:
    history = [(1.0, 0), (2.0, 49), (2.5, 50), (3.0, 98), (4.0, 99)]
    assert find_quantiles(history, 100) == {0.5: 2.5, 0.9: 3.0, 0.99: 4.0, 1.0: None}
    returns = Returns(100, find_quantiles(history, 100), failed=7, locked_out=1)
    assert str(returns) == (
        "100 lost: 50% after 2.5 s, 90% after 3.0 s, 99% after 4.0 s, 100% after never;"
        " 7 attempts failed; 1 locked out"
    )


def test_access_has_ended_once_a_box_is_cut_off_and_refused() -> None:
    end = AccountEnd()
    began = time.monotonic()
    end.note(is_cut=True)
    assert end.count_seconds(began) is None
    assert not end.is_over.is_set()
    end.note(is_cut=False)
    seconds = end.count_seconds(began)
    assert seconds is not None
    assert seconds >= 0
    assert end.is_over.is_set()


@pytest.mark.parametrize("changes", [{}, {"stored": 9}, {"twice": 1}, {"delivered_again": 1}, {"unfired": 1}])
def test_an_upgrade_is_good_if_nothing_is_lost_or_happens_twice(changes: dict[str, int]) -> None:
    values = {"published": 10, "stored": 10, "twice": 0, "delivered_again": 0, "unfired": 0} | changes
    alerts = AlertCounts(due=2, unfired=values.pop("unfired"))
    outcome = UpgradeOutcome(alerts=alerts, **values)
    assert outcome.is_good is (not changes)
    assert f"10 samples, {outcome.published - outcome.stored} lost" in str(outcome)


def test_every_role_stops_before_an_upgrade() -> None:
    assert sorted(STOP_ORDER) == sorted(ROLES)


_SOCKETS = """\
ESTAB 0 0 10.209.17.1:40110 10.209.17.2:4222
\t cubic wscale:10,10 rto:204 bytes_sent:1000 bytes_acked:1001 bytes_received:70 segs_out:7
ESTAB 0 0 10.209.17.1:1883 10.209.17.254:51000
\t cubic wscale:10,10 rto:204 bytes_sent:30 bytes_acked:31 bytes_received:500
ESTAB 0 0 10.209.17.1:6222 10.209.17.3:41000
\t cubic rto:204 bytes_sent:200 bytes_acked:200
ESTAB 0 0 10.209.17.1:40111 10.209.17.1:1883
\t cubic rto:204 bytes_sent:9999 bytes_acked:9999
ESTAB 0 0 10.209.17.1:40112 10.209.17.2:4222
\t cubic rto:204 bytes_received:8
ESTAB 0 0 10.209.17.1:22 10.209.17.2:50000
\t cubic rto:204 bytes_sent:77
ESTAB 0 0 10.209.17.1:40113 10.209.17.2:4222
\t cubic rto:204 bytes_sent:24 bytes_acked:24
"""


def test_sent_bytes_are_summed_by_flow_without_those_to_the_same_host() -> None:
    assert count_sent_bytes(_SOCKETS) == {"log-clients-in": 1024, "mqtt-out": 30, "log-replication-out": 200}
    assert not count_sent_bytes("")
