"""Measures what each connected and each registered box costs: `python -m bench.box_costs`. Two minutes.

- A connection to Mosquitto, plain and by TLS: memory, CPU to connect, CPU to publish.
- A connection through haproxy: memory.
- An `ack` message: CPU of ingest and of Mosquitto.
- An account: memory of Mosquitto, and how long a new password file keeps it from serving boxes.
- A registered box that has sent: memory of the ingest process.

The figures go to docs/scale.json.
"""

import asyncio
import os
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import trustme
import typer
import uvloop
from pydantic import SecretStr

from app.ingest.ack_publisher import AckPublisher
from app.ingest.pipeline.batch_receipt import BoxAck
from app.platform.broker.mosquitto_password_hash import hash_mosquitto_password
from app.platform.config.platform_settings import BrokerSettings
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import TlsListener
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.unprivileged_accounts import build_file_limit_command
from bench.drain import DrainCourse, all_messages
from bench.fleet_box import FleetBox, FleetCounts
from bench.fleet_client import allow_files
from bench.load import MessageLoad, box_id
from bench.measure import cpu_seconds, describe_machine, rss
from bench.process import FailedError
from bench.publisher import CONNECTIONS, drop_session, make_session, publish
from bench.scale_figures import store_scale_figures
from bench.stack import PASSWORDS, BenchStack, stack
from bench.tables import all_stored
from tools.clusters.cluster_nodes import find_server

CONNECTED: Final = 2_000
MESSAGES: Final = 20
"""Of each connection."""
ACCOUNTS: Final = ((10_000, 0), (1_000_000, 0), (10_000, CONNECTED))
"""Accounts of a file, and boxes that are connected while it changes."""
ACKS: Final = 20_000
REGISTERED: Final = (1_000, 21_000)

_PASSWORD: Final = "the password of all boxes here"  # noqa: S105 (of a broker on loopback, for a minute)
_WITHIN_S: Final = 60.0
_QUIET_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.02
_CLIENT: Final = "vigie-bench-registered"
_PROXY: Final = """\
global
    maxconn 5000
defaults
    mode tcp
    timeout connect 3s
    timeout client 30m
    timeout server 30m
    option clitcpka
    option srvtcpka
frontend mqtt
    bind 127.0.0.1:{port}
    default_backend mosquitto
backend mosquitto
    server machine1 127.0.0.1:{broker}
"""


@dataclass(frozen=True, slots=True)
class ConnectionCost:
    """The cost of a connection for Mosquitto.

    Attributes:
        memory_bytes: Memory of a connection with a subscription to `ack`, without buffers of the kernel.
        connect_us: CPU to accept it, check its password and subscribe (µs).
        publish_us: CPU of a message at QoS 1 that nobody has subscribed to (µs).
    """

    memory_bytes: float
    connect_us: float
    publish_us: float


@dataclass(frozen=True, slots=True)
class AccountCost:
    """The cost of a password file for Mosquitto.

    Attributes:
        accounts: Its lines.
        connected: Boxes that were connected.
        file_bytes: Its size.
        memory_bytes: Memory of the broker with it.
        reload_s: CPU to read it (s). Meanwhile the broker, which has one thread, serves nobody.
    """

    accounts: int
    connected: int
    file_bytes: int
    memory_bytes: int
    reload_s: float


@dataclass(frozen=True, slots=True)
class AckCost:
    """The cost of an `ack` message.

    Attributes:
        publisher_us: CPU of ingest (µs).
        broker_us: CPU of Mosquitto, which passes it on to its box (µs).
    """

    publisher_us: float
    broker_us: float


def _make_authority(folder: Path) -> tuple[TlsListener, ssl.SSLContext]:
    """Make a folder with a certificate; returns a listener, and what trusts it."""
    folder.mkdir()
    # The account of the broker goes through it.
    folder.chmod(0o755)
    authority = trustme.CA()
    broker = authority.issue_cert("127.0.0.1")
    key, certificate = folder / "broker-key.pem", folder / "broker.pem"
    broker.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in broker.cert_chain_pems))
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return TlsListener("127.0.0.1", find_free_port(), certificate, key), trusted


def _write_accounts(broker: PrivateMosquitto, count: int) -> None:
    """Write a password file. All boxes have one password, and so one line but for their names."""
    hashed = hash_mosquitto_password(_PASSWORD)
    static = broker.static_password_file.read_text(encoding="utf-8")
    lines = "".join(f"{box_id(index)}:{hashed}\n" for index in range(count))
    broker.password_file.write_text(static + lines, encoding="utf-8")


async def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise FailedError(f"After {_WITHIN_S:.0f} s {what}.")
        await asyncio.sleep(_LOOK_EVERY_S)


async def _until_quiet(pid: int) -> float:
    """Wait until a process uses no more CPU; returns its CPU seconds."""
    while True:
        before = cpu_seconds(pid)
        await asyncio.sleep(_QUIET_S)
        if cpu_seconds(pid) - before < _LOOK_EVERY_S:
            return before


@asynccontextmanager
async def connect_boxes(
    broker: PrivateMosquitto, port: int, tls: ssl.SSLContext | None, boxes: int
) -> AsyncIterator[list[FleetBox]]:
    """Connect boxes for the length of a block.

    Raises:
        FailedError: Not all of them connect.
    """
    counts, chance = FleetCounts(), random.Random(1)
    address = (broker.host, port)
    fleet = [FleetBox(index, _PASSWORD, address, counts, chance, tls=tls) for index in range(boxes)]
    living = [asyncio.create_task(box.live()) for box in fleet]
    try:
        await _until(lambda: counts.connected == boxes, f"{counts.connected} of {boxes} boxes are connected")
        yield fleet
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)


async def measure_connections(
    broker: PrivateMosquitto, port: int, tls: ssl.SSLContext | None, boxes: int = CONNECTED
) -> ConnectionCost:
    """Connect boxes to a broker that has just started, and let each publish.

    Raises:
        FailedError: Not all of them connect.
    """
    cpu, memory = await _until_quiet(broker.pid), rss(broker.pid)
    async with connect_boxes(broker, port, tls, boxes) as fleet:
        connected_cpu, connected_memory = await _until_quiet(broker.pid), rss(broker.pid)
        for _ in range(MESSAGES):
            for box in fleet:
                box.measure()
            await asyncio.sleep(_LOOK_EVERY_S)
        published_cpu = await _until_quiet(broker.pid)
    return ConnectionCost(
        memory_bytes=round((connected_memory - memory) / boxes),
        connect_us=round((connected_cpu - cpu) / boxes * 1e6, 1),
        publish_us=round((published_cpu - connected_cpu) / boxes / MESSAGES * 1e6, 2),
    )


async def measure_accounts(broker: PrivateMosquitto, count: int, boxes: int = 0) -> AccountCost:
    """Give the broker a password file, and measure what it uses to read it.

    Args:
        broker: The broker.
        count: Accounts of the file.
        boxes: Boxes that are connected meanwhile: the broker checks the password of each again.
    """
    async with connect_boxes(broker, broker.port, None, boxes):
        await asyncio.to_thread(_write_accounts, broker, count)
        before = await _until_quiet(broker.pid)
        os.kill(broker.pid, signal.SIGHUP)
        await asyncio.sleep(_QUIET_S)
        used, memory = await _until_quiet(broker.pid) - before, rss(broker.pid)
    size = broker.password_file.stat().st_size
    return AccountCost(count, boxes, size, memory, round(used, 3))


async def measure_acks(broker: PrivateMosquitto, boxes: int, count: int = ACKS) -> AckCost:
    """Publish `ack` messages as ingest does, first to nobody, then to connected boxes.

    Raises:
        FailedError: Not all boxes connect.
    """
    settings = BrokerSettings(
        host=broker.host, port=broker.port, username="ingest", password=SecretStr(PASSWORDS["ingest"])
    )

    async def publish_acks() -> tuple[float, float]:
        publisher = AckPublisher(settings, client_id="bench-acks")
        broker_before, before = await _until_quiet(broker.pid), time.process_time()
        publisher.start()
        for number in range(count):
            publisher.publish({box_id(number % boxes): BoxAck(seqs=[number])})
        await publisher.stop(_WITHIN_S)
        used = time.process_time() - before
        return used / count * 1e6, (await _until_quiet(broker.pid) - broker_before) / count * 1e6

    publisher_us, _ = await publish_acks()
    async with connect_boxes(broker, broker.port, None, boxes):
        _, broker_us = await publish_acks()
    return AckCost(round(publisher_us, 1), round(broker_us, 1))


@asynccontextmanager
async def run_broker(folder: Path) -> AsyncIterator[tuple[PrivateMosquitto, int, ssl.SSLContext]]:
    """Run a fresh broker with accounts of all boxes; yields it, its port for TLS, and what trusts it."""
    listener, trusted = _make_authority(folder)
    async with PrivateMosquitto(folder / "mosquitto", accounts=PASSWORDS, tls=listener) as broker:
        await asyncio.to_thread(_write_accounts, broker, CONNECTED)
        os.kill(broker.pid, signal.SIGHUP)
        yield broker, listener.port, trusted


async def measure_registered(running: BenchStack, boxes: int) -> int:
    """Return the memory of an ingest process that has stored as many samples of so many boxes (bytes)."""
    course = DrainCourse("e", MessageLoad(max(REGISTERED), boxes, round(time.time() * 1000)))
    database = await running.database_with_fleet(
        "registered", boxes=boxes, rules_per_site=course.rules_per_site, sites=course.sites, further=()
    )
    account = running.account("ingest")
    try:
        await make_session(account, _CLIENT, course.filters)
        await publish(await all_messages(course, database), running.account("gateway"))
        async with running.role("ingest", database, VIGIE_INGEST__CLIENT_ID=_CLIENT) as role:
            await all_stored(database, course.load.last_of(CONNECTIONS), role.check)
            await asyncio.sleep(_QUIET_S)
            return rss(role.pid)
    finally:
        await drop_session(account, _CLIENT)
        await running.drop("registered")


@asynccontextmanager
async def run_proxy(folder: Path, broker: PrivateMosquitto) -> AsyncIterator[tuple[int, int]]:
    """Run haproxy before a broker, as `deploy/ha/haproxy.cfg` passes connections on; yields pid and port."""
    port, config = find_free_port(), folder / "haproxy.cfg"
    config.write_text(_PROXY.format(port=port, broker=broker.port), encoding="utf-8")
    words = build_file_limit_command([find_server("haproxy", "haproxy"), "-db", "-f", str(config)])
    process = await asyncio.create_subprocess_exec(*words)
    try:
        await asyncio.sleep(_QUIET_S)
        yield process.pid, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def measure_proxy(folder: Path, broker: PrivateMosquitto, boxes: int = CONNECTED) -> float:
    """Return the memory of haproxy for a connection (bytes).

    Raises:
        FailedError: Not all boxes connect.
    """
    async with run_proxy(folder, broker) as (pid, port):
        before = rss(pid)
        async with connect_boxes(broker, port, None, boxes):
            await _until_quiet(pid)
            return round((rss(pid) - before) / boxes)


async def _measure_connections(folder: Path) -> dict[str, object]:
    async with run_broker(folder / "plain") as (broker, _, _):
        plain = await measure_connections(broker, broker.port, None)
    async with run_broker(folder / "tls") as (broker, port, trusted):
        tls = await measure_connections(broker, port, trusted)
    async with run_broker(folder / "proxy") as (broker, _, _):
        proxy = await measure_proxy(folder, broker)
    return {"connected": CONNECTED, "plain": asdict(plain), "tls": asdict(tls), "proxy_bytes": proxy}


async def _measure_accounts(folder: Path) -> dict[str, object]:
    found = []
    for count, boxes in ACCOUNTS:
        async with run_broker(folder / f"accounts-{count}-{boxes}") as (broker, _, _):
            found.append(asdict(await measure_accounts(broker, count, boxes)))
    return {"files": found}


async def _measure_acks(folder: Path) -> dict[str, object]:
    async with run_broker(folder / "acks") as (broker, _, _):
        return {"acks": ACKS, **asdict(await measure_acks(broker, CONNECTED))}


async def _measure_registered(_: Path) -> dict[str, object]:
    async with stack() as running:
        sizes = [
            {"boxes": boxes, "memory_bytes": await measure_registered(running, boxes)} for boxes in REGISTERED
        ]
    return {"ingest": sizes}


_PARTS: Final[dict[str, Callable[[Path], Coroutine[None, None, dict[str, object]]]]] = {
    "connections": _measure_connections,
    "accounts": _measure_accounts,
    "acks": _measure_acks,
    "registered": _measure_registered,
}


def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(_PARTS)}; by default all")] = None,
) -> None:
    """Measure what boxes cost; writes docs/scale.json."""
    allow_files(CONNECTED + 200)
    for name in only or _PARTS:
        with TemporaryDirectory(prefix="vigie-bench-") as folder:
            # The accounts of services go through it.
            Path(folder).chmod(0o755)
            found = uvloop.run(_PARTS[name](Path(folder)))
        typer.echo(f"{name}: {found}")
        measured = f"{datetime.now(UTC).date().isoformat()}: {describe_machine()}"
        store_scale_figures(name, {"measured": measured, **found})


if __name__ == "__main__":
    typer.run(main)
