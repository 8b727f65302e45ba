"""haproxy with the shipped file, in front of two machines.

TLS of boxes passes through to the brokers, that of clients ends at haproxy, and a machine can be drained.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import httpx
import pytest
import trustme
from aiohttp import web

from app.platform.broker.mosquitto_password_hash import format_password_line
from app.server_installation.deploy_files import render_deploy_file
from app.standalone.child_process import ChildProcess
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import ACCESS_RULES, BrokerLimits, render_mosquitto_config
from tools.clusters.city_components import Machine, ProgramComponent
from tools.clusters.cluster_nodes import NodePlace, find_server
from tools.clusters.haproxy_config import make_haproxy, read_servers, set_server_state
from tools.clusters.machine_processes import API_PORT, METRICS_PORTS, MQTT_PORT, MQTTS_PORT

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Their ports are fixed, so each machine has an address of its own.
OWN = os.getpid()
HOSTS = tuple(f"127.{10 + OWN // 250 % 240}.{OWN % 250}.{number}" for number in (1, 2))


@asynccontextmanager
async def run_pages(host: str, port: int, pages: Mapping[str, Handler]) -> AsyncIterator[None]:
    """A server of HTTP."""
    application = web.Application()
    for path, page in pages.items():
        application.router.add_get(path, page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def say_alive(_: web.Request) -> web.Response:
    return web.Response(text="alive")


async def show_forwarded(request: web.Request) -> web.Response:
    """Return what an API learns of the client of a proxy."""
    names = ("X-Forwarded-For", "X-Forwarded-Proto")
    return web.json_response({name: request.headers.getall(name, []) for name in names})


@asynccontextmanager
async def run_broker(machine: Machine, certificate: bytes) -> AsyncIterator[None]:
    """A broker with both listeners, and the health of its edge."""
    home = machine.folder
    (home / "data").mkdir(parents=True)
    (home / "certificate-and-key.pem").write_bytes(certificate)
    lines = [format_password_line(f"box-{number}", "secret") for number in range(8)]
    (home / "passwords").write_text("".join(f"{line}\n" for line in lines))
    (home / "acl").write_text(ACCESS_RULES)
    config = render_mosquitto_config(port=MQTT_PORT, home=home, limits=BrokerLimits(), host=machine.host)
    tls = render_deploy_file("server/mosquitto/vigie-tls.conf", mqtts_port=MQTTS_PORT, broker_settings=home)
    config += tls.replace(f"listener {MQTTS_PORT}", f"listener {MQTTS_PORT} {machine.host}")
    (home / "mosquitto.conf").write_text(f"user root\n{config}")
    words = [find_server("mosquitto", "mosquitto"), "-c", str(home / "mosquitto.conf")]
    async with run_pages(machine.host, METRICS_PORTS["edge"], {"/healthz": say_alive}):
        child = await ChildProcess.start(words, environment={}, log=home / "mosquitto.log")
        try:
            yield
        finally:
            await child.stop()


@dataclass
class Front:
    """haproxy with its machines."""

    haproxy: ProgramComponent
    mqtts: int
    http: int
    https: int
    trust: ssl.SSLContext

    def connect(self, number: int) -> aiomqtt.Client:
        return aiomqtt.Client(
            *("127.0.0.1", self.mqtts),
            username=f"box-{number}",
            password="secret",
            tls_context=self.trust,
            timeout=20,
        )

    async def wait_for(
        self, holds: Callable[[dict[tuple[str, str], tuple[str, int]]], bool]
    ) -> dict[tuple[str, str], tuple[str, int]]:
        servers: dict[tuple[str, str], tuple[str, int]] = {}
        try:
            async with asyncio.timeout(60):
                while True:
                    try:
                        servers = await read_servers(self.haproxy.folder)
                    except OSError:
                        assert self.haproxy.is_running, self.haproxy.log.read_text()
                    else:
                        if holds(servers):
                            return servers
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{servers}")


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    machines = [
        Machine(f"machine{number}", NodePlace(host), tmp_path / f"machine{number}")
        for number, host in enumerate(HOSTS, 1)
    ]
    mqtts, http, https = find_free_port(), find_free_port(), find_free_port()
    file = tmp_path / "certificate-and-key.pem"
    file.write_bytes(certificate)
    haproxy = make_haproxy(
        tmp_path / "haproxy",
        machines,
        http=[f"127.0.0.1:{http}"],
        https=[f"127.0.0.1:{https}"],
        mqtt=[f"127.0.0.1:{find_free_port()}"],
        mqtts=[f"127.0.0.1:{mqtts}"],
        certificate=file,
    )
    async with AsyncExitStack() as stack:
        for machine in machines:
            await stack.enter_async_context(run_broker(machine, certificate))
            pages = {"/readyz": say_alive, "/forwarded": show_forwarded}
            await stack.enter_async_context(run_pages(machine.host, API_PORT, pages))
        await haproxy.start()
        stack.push_async_callback(haproxy.stop)
        running = Front(haproxy, mqtts, http, https, trust)
        await running.wait_for(lambda servers: all(state == "UP" for state, _ in servers.values()))
        yield running


def list_boxes(servers: dict[tuple[str, str], tuple[str, int]]) -> dict[str, int]:
    return {name: count for (backend, name), (_, count) in servers.items() if backend == "mosquitto_tls"}


async def test_boxes_with_tls_go_to_both_brokers_and_leave_one_that_is_drained(front: Front) -> None:
    async with AsyncExitStack() as stack:
        boxes = [await stack.enter_async_context(front.connect(number)) for number in range(4)]
        servers = await front.wait_for(lambda servers: sum(list_boxes(servers).values()) == 4)
        assert list_boxes(servers) == {"machine1": 2, "machine2": 2}

        async def wait_until_cut(box: aiomqtt.Client) -> bool:
            try:
                async for _ in box.messages:
                    pass
            except aiomqtt.MqttError:
                return True
            return False

        waiting = [asyncio.create_task(wait_until_cut(box)) for box in boxes]
        await set_server_state(front.haproxy.folder, "mosquitto", "machine1", "maint")
        servers = await front.wait_for(lambda servers: list_boxes(servers)["machine1"] == 0)
        async with asyncio.timeout(60):
            while sum(task.done() for task in waiting) < 2:  # noqa: ASYNC110 (of four tasks any two)
                await asyncio.sleep(0.05)
        first, rest = await asyncio.wait(waiting, timeout=1.0)
        assert (len(first), len(rest)) == (2, 2)
        async with front.connect(4), front.connect(5):
            servers = await front.wait_for(lambda servers: sum(list_boxes(servers).values()) == 4)
            assert list_boxes(servers) == {"machine1": 0, "machine2": 4}
        await set_server_state(front.haproxy.folder, "mosquitto", "machine1", "ready")
        await front.wait_for(lambda servers: servers["mosquitto_tls", "machine1"][0] == "UP")
        async with front.connect(6), front.connect(7):
            servers = await front.wait_for(lambda servers: sum(list_boxes(servers).values()) == 4)
            assert list_boxes(servers) == {"machine1": 2, "machine2": 2}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_tls_of_clients_ends_here_and_the_api_learns_of_it_from_nobody_else(front: Front) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    async with httpx.AsyncClient(verify=front.trust) as client:
        plain = await client.get(f"http://127.0.0.1:{front.http}/forwarded", headers=claimed)
        assert plain.json() == {"X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Proto": []}
        claimed["X-Forwarded-Proto"] = "http"
        secure = await client.get(f"https://127.0.0.1:{front.https}/forwarded", headers=claimed)
        assert secure.json() == {"X-Forwarded-For": ["127.0.0.1"], "X-Forwarded-Proto": ["https"]}


async def test_an_unknown_machine_is_refused(front: Front) -> None:
    with pytest.raises(OSError, match="No such"):
        await set_server_state(front.haproxy.folder, "mosquitto", "machine9", "maint")
