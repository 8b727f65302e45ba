"""What runs out: a database that hangs, a disk, the broker's queue, descriptors."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import asyncpg
import httpx
import psutil
import pytest

from app.platform.db.database import Database
from app.platform.db.schema_upgrade import upgrade
from app.platform.runtime.health_router import ReadinessProbe
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import BrokerLimits
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from app.standalone.unprivileged_accounts import SystemAccount, build_run_as_command
from tests.conftest import ACCOUNTS, Tenant, client_of, new_application, new_tenant, running
from tests.faults.disks import fill, small_disk
from tests.faults.fleet import FaultFleet, body, leave_session
from tests.faults.harness import FaultReport, FaultSize
from tests.integration.notifications.helpers import dispatching, with_webhooks
from tests.integration.notifications.receivers import receiving, status
from tests.scenarios.processes import RoleProcess, role, until

pytestmark = pytest.mark.fault

_MIB = 2**20


@asynccontextmanager
async def probing(settings: VigieSettings) -> AsyncIterator[ReadinessProbe]:
    """What `/readyz` of a stack asks, which needs its consumer too."""
    api = settings.api.model_copy(update={"ready_requires": ["database", "migrations", "ingest"]})
    database = Database(settings.database, application="readiness")
    yield ReadinessProbe(settings.model_copy(update={"api": api}), database)
    await database.close()


async def _is_ready(probe: ReadinessProbe, *, patience_s: float = 60.0) -> None:
    async def ask() -> bool:
        return (await probe.readiness()).ready

    await until(ask, patience_s=patience_s)


@contextmanager
def _hanging(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_07_postgres_hangs(
    *,
    fleet: FaultFleet,
    postgres: PrivatePostgres,
    settings: VigieSettings,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """The backends stop; the postmaster goes on making new ones, which answer."""
    async with role("ingest", tmp_path) as ingest, probing(settings) as probe:
        await fleet.consuming()
        assert (await probe.readiness()).dependencies["database"].state == "ok"
        backends = [child.pid for child in psutil.Process(postgres.pid).children()]
        memory: list[int] = []
        answers: list[tuple[float, bool]] = []
        async with fleet.load():
            await asyncio.sleep(0.5)
            with _hanging(backends):
                began = time.monotonic()
                # The first answers may be one that is kept for a second: it asks until it gets another.
                while (passed := time.monotonic() - began) < size.of(1.5, 60) or (
                    passed < 60 and all(ready for _, ready in answers)
                ):
                    answers.append((passed, (await probe.readiness()).ready))
                    memory.append(psutil.Process(ingest.pid).memory_info().rss)
                    await asyncio.sleep(0.2)
            fleet.healed()
            await _is_ready(probe)
        report.add("07 PostgreSQL hangs (SIGSTOP)", await fleet.outcome(patience_s=60, ordered=True))
    # Connections that hang tell at once; roles, by whose own ones it is known later, need their time-outs.
    assert not all(ready for _, ready in answers)
    assert not any(ready for passed, ready in answers if passed > 10)
    assert max(memory) < 300 * _MIB


@dataclass
class Cramped:
    """A fleet whose database has a small disk."""

    fleet: FaultFleet
    server: PrivatePostgres
    disk: Path
    settings: VigieSettings


@pytest.fixture
async def cramped(
    settings: VigieSettings, mosquitto: PrivateMosquitto, admin_key: str, tmp_path: Path
) -> AsyncIterator[Cramped]:
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(256))
        server = await stack.enter_async_context(PrivatePostgres(disk / "postgres"))
        own = settings.database.model_copy(update={"url": server.url})
        await asyncio.to_thread(upgrade, own)
        mine = settings.model_copy(update={"database": own})
        application = await stack.enter_async_context(running(new_application(mine)))
        admin = await stack.enter_async_context(client_of(application, admin_key))
        tenant = await stack.enter_async_context(new_tenant(application, admin, "Tenant"))
        boxes = [f"box-{number:02}" for number in range(20)]
        fleet = FaultFleet(tenant.client, mosquitto, server.url, boxes, tmp_path / "ledger")
        site = {
            "name": "Street",
            "kind": "street",
            "timezone": "Europe/Paris",
            "location": {"type": "Point", "coordinates": [1.4, 43.6]},
        }
        made = (await tenant.client.post("/v1/sites", json=site)).raise_for_status().json()
        await fleet.register(made["id"])
        yield Cramped(fleet, server, disk, mine)


async def test_08_disk_full(cramped: Cramped, size: FaultSize, report: FaultReport, tmp_path: Path) -> None:
    fleet, server = cramped.fleet, cramped.server
    async with (
        role(
            "ingest",
            tmp_path,
            VIGIE_DATABASE__URL=server.url,
            VIGIE_INGEST__RECONNECT_MAX_S=str(size.of(1, 10)),
        ) as ingest,
        probing(cramped.settings) as probe,
    ):
        await fleet.consuming()
        async with fleet.load():
            await fleet.more(100)
            ballast = fill(cramped.disk)

            async def refused() -> bool:
                log = ingest.log.read_text()
                return "DiskFullError" in log or "database_lost" in log

            await until(refused, patience_s=60)

            async def unready() -> str:
                found = await probe.readiness()
                return found.dependencies["database"].detail

            assert await until(unready)
            left = await _refused_at_the_other_door(fleet)
            await asyncio.sleep(size.of(0, 60))
            ballast.unlink()
            if server.child is None or server.child.returncode is not None:
                # Without room for its log the server ends itself; its supervisor starts it again.
                await server.stop()
                await server.start()
            fleet.healed()
        await _is_ready(probe, patience_s=60)
        for call in left:
            (await fleet.client.post("/v1/telemetry", json=call)).raise_for_status()
        report.add("08 disk full", await fleet.outcome(patience_s=60))


async def _refused_at_the_other_door(fleet: FaultFleet) -> list[dict[str, object]]:
    """Calls that are told 503, which are to be sent again: nothing that does not fit is said to be stored."""
    calls: list[dict[str, object]] = [{"box": box, "samples": [body(100_000)]} for box in fleet.boxes[:2]]
    for box in fleet.boxes[:2]:
        fleet.note(box, 100_000)
    statuses = [(await fleet.client.post("/v1/telemetry", json=call)).status_code for call in calls]
    assert set(statuses) <= {200, 503}
    assert 503 in statuses
    return [call for call, answer in zip(calls, statuses, strict=True) if answer == 503]


async def _figure(url: str, name: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(url)).text
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


async def test_12_queue_overflow(
    *,
    fleet: FaultFleet,
    api: httpx.AsyncClient,
    settings: VigieSettings,
    database: Database,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """Twice the queue while no consumer is there: what does not fit is seen, counted, and told."""
    queue = size.of(200, 5000)
    limits = BrokerLimits(queued_messages=queue)
    async with (
        PrivateMosquitto(tmp_path / "broker", accounts=ACCOUNTS, limits=limits) as broker,
        receiving(status(204)) as receiver,
        dispatching(with_webhooks(settings, poll_s=0.5), database),
    ):
        fleet.broker = broker
        fleet.patience_s = 60
        port = find_free_port()
        elsewhere = {"VIGIE_BROKER__PORT": str(broker.port), "VIGIE_METRICS_PORT": str(port)}
        wanted = {"url": receiver.url, "events": ["platform.messages_dropped"]}
        (await api.post("/v1/webhooks", json=wanted)).raise_for_status()
        await leave_session(broker, settings.ingest.client_id)
        async with role("maintain", tmp_path, **elsewhere) as maintain:
            await fleet.publish(range(2 * queue // len(fleet.boxes)))
            got = await receiver.wait(1)
            told = json.loads(got[0].body)

            async def counted() -> float:
                number = await _figure(
                    f"http://127.0.0.1:{port}/metrics", "vigie_broker_dropped_messages_total"
                )
                return number if number >= queue else 0.0

            dropped = await until(counted)
            shown = (await api.get("/readyz")).json()["dependencies"]["broker"]
            fleet.healed()
            async with role("ingest", tmp_path, VIGIE_BROKER__PORT=str(broker.port)):
                outcome = await fleet.outcome(but=round(dropped))
            assert '"broker_dropped_messages"' in maintain.log.read_text()
    report.add("12 queue overflow", outcome)
    assert dropped == queue
    assert told["type"] == "platform.messages_dropped"
    assert 0 < told["data"]["dropped"] <= dropped
    assert shown["state"] == "degraded"
    assert "dropped" in shown["detail"]


def _most_descriptors(pid: int, number: int) -> None:
    """Give a process so many descriptors, whoever it runs as; it may be given more again."""
    process = psutil.Process(pid)
    account = SystemAccount(process.username(), process.uids().real, process.gids().real)
    arguments = ["prlimit", f"--pid={pid}", f"--nofile={number}:"]
    command = build_run_as_command(None if account.uid == os.geteuid() else account, arguments)
    subprocess.run(command, check=True)  # noqa: S603 (no shell)


@asynccontextmanager
async def _occupied(port: int, number: int) -> AsyncIterator[None]:
    """Many connections that say nothing."""
    taken = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(number)))
    try:
        yield
    finally:
        for _, writer in taken:
            writer.transport.abort()


async def test_19_descriptors_exhausted(
    *,
    fleet: FaultFleet,
    postgres: PrivatePostgres,
    tenant: Tenant,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """With 64 descriptors each, broker and API are occupied, and ingest has none for a new connection."""
    port = find_free_port()
    broker = PrivateMosquitto(tmp_path / "broker", accounts=ACCOUNTS)
    async with broker:
        fleet.broker = broker
        environment = {"VIGIE_BROKER__PORT": str(broker.port)}
        async with (
            role("ingest", tmp_path, **environment) as ingest,
            role("api", tmp_path, VIGIE_API__PORT=str(port), **environment) as api,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=tenant.client.headers) as client,
        ):
            await fleet.consuming()

            async def serves() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    return (await client.get("/healthz", timeout=2)).status_code == 200
                return False

            await until(serves)
            for pid in (broker.pid, api.pid, ingest.pid):
                _most_descriptors(pid, 64)
            await client.aclose()
            await _occupy_all(fleet, postgres, ingest, port, size)
            fleet.healed()
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=tenant.client.headers
            ) as again:
                seq = 100_000
                fleet.note_all(seq)
                for box in fleet.boxes:
                    call = {"box": box, "samples": [body(seq)]}
                    (await again.post("/v1/telemetry", json=call, timeout=10)).raise_for_status()
            report.add("19 descriptors exhausted", await fleet.outcome())


async def _occupy_all(
    fleet: FaultFleet, postgres: PrivatePostgres, ingest: RoleProcess, port: int, size: FaultSize
) -> None:
    async with fleet.load(), _occupied(port, 100), _occupied(fleet.broker.port, 100):
        # Both refuse, or close what they took: nobody waits for an answer that will not come.
        with pytest.raises((httpx.TransportError, ConnectionError)):
            async with httpx.AsyncClient() as refused:
                await refused.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
        with pytest.raises(aiomqtt.MqttError):
            async with fleet.gateway():
                pass
        _most_descriptors(ingest.pid, 4)
        server = await asyncpg.connect(postgres.superuser_url)
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigie-ingest'"
        )
        await server.close()

        async def says_so() -> bool:
            return "Too many open files" in ingest.log.read_text()

        await until(says_so)
        await asyncio.sleep(size.of(0, 20))
        _most_descriptors(ingest.pid, 64)
