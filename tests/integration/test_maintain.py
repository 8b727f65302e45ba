"""The maintenance role: one works, and one job that fails does not keep the others from their turn."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import asyncpg
import pytest

from app.notifications.events.operator_events import prune_outbox, read_last_dropped
from app.notifications.http.webhook_secrets import open_secret
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.advisory_lock_keys import MAINTAINER
from app.platform.db.database import Database
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.runtime.process_runner import ProcessContext
from app.platform.secrets.sealing import SecretSealer
from app.processes import maintain as maintain_module
from app.processes.maintain import _Job, _purge_boxes, _run_due_jobs, run_maintain
from app.registry.box_configurations import store_reported_configs
from app.registry.broker_password_file import sync_password_file
from app.settings import VigieSettings
from app.standalone.mosquitto_config import BrokerLimits
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.faults.fleet import leave_session
from tests.integration.notifications.helpers import add_endpoint, add_organisation
from tests.integration.notifications.log import add_delivery, ago
from tests.integration.registry.test_broker_password_file import accepts, add_box
from tests.roles import working_as
from tests.scenarios.processes import until


@asynccontextmanager
async def maintaining(settings: VigieSettings, database: Database) -> AsyncIterator[ProcessContext]:
    async with working_as("maintain", database) as opened:
        role = ProcessContext("maintain", opened)
        working = asyncio.create_task(run_maintain(settings, role))
        yield role
        role.stop.set()
        await asyncio.wait_for(working, 60)


async def until_state(role: ProcessContext, state: str) -> None:
    async with asyncio.timeout(60):
        while role.state != state:  # noqa: ASYNC110 (the role's word)
            await asyncio.sleep(0.05)


async def test_one_works_and_the_other_stands_by(settings: VigieSettings, database: Database) -> None:
    async with maintaining(settings, database) as first:
        await until_state(first, "working")
        async with maintaining(settings, database) as second:
            await until_state(second, "standby")
            states = set()
            for _ in range(30):
                await asyncio.sleep(0.1)
                states.add((first.state, second.state))
            assert states == {("working", "standby")}
            first.stop.set()
            await until_state(second, "working")


_SUSPENDED = """
import asyncio, os, sys
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import Database
from app.platform.db.process_lock import ProcessLock

async def main():
    database = Database(DatabaseSettings(url=sys.argv[1]), application="hanging")
    lock = await ProcessLock.open(database, int(sys.argv[2]), lambda: print("lost", flush=True))
    print(await lock.try_acquire(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_process_that_hangs_loses_the_lock_and_notices(
    settings: VigieSettings, database: Database
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SUSPENDED, database.settings.url, str(MAINTAINER)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        assert await child.stdout.readline() == b"True\n"
        async with maintaining(settings, database) as other:
            await asyncio.sleep(12)
            assert other.state == "standby", "a process that works has the lock for longer than ten seconds"
            child.send_signal(signal.SIGSTOP)
            await until_state(other, "working")
            child.send_signal(signal.SIGCONT)
            async with asyncio.timeout(60):
                while await child.stdout.readline() != b"lost\n":  # after a line of the log
                    assert not child.stdout.at_eof()
            assert other.state == "working"
    finally:
        child.kill()
        await child.wait()


async def test_a_job_that_fails_keeps_no_other_from_its_turn(
    settings: VigieSettings, database: Database, tmp_path: Path
) -> None:
    broker = settings.broker.model_copy(update={"password_file": tmp_path / "absent" / "passwords"})
    connection = await database.connect()
    await connection.execute(
        "INSERT INTO heartbeats VALUES ('api', 'gone', 'serving', now() - interval '1 hour')"
    )
    async with maintaining(settings.model_copy(update={"broker": broker}), database):
        async with asyncio.timeout(60):
            while await connection.fetchval("SELECT count(*) FROM heartbeats WHERE instance = 'gone'"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    await connection.close()


@pytest.mark.usefixtures("api")  # which makes the platform's organisation
async def test_what_the_broker_drops_is_told_once_over_restarts(
    settings: VigieSettings, database: Database, tmp_path: Path
) -> None:
    connection = await database.connect()

    async def told() -> list[int]:
        query = "SELECT (payload->>'dropped')::int FROM outbox WHERE type = $1 ORDER BY position"
        return [number for (number,) in await connection.fetch(query, "platform.messages_dropped")]

    async def told_all() -> list[int] | None:
        numbers = await told()
        return numbers if sum(numbers) >= 7 else None

    limits = BrokerLimits(queued_messages=5)
    async with PrivateMosquitto(tmp_path / "broker", accounts=ACCOUNTS, limits=limits) as broker:
        await leave_session(broker, "away")
        mine = settings.model_copy(
            update={"broker": settings.broker.model_copy(update={"port": broker.port, "password_file": None})}
        )
        async with aiomqtt.Client(
            broker.host, broker.port, username="gateway", password=ACCOUNTS["gateway"]
        ) as client:
            for _ in range(12):
                await client.publish("vigie/v1/box/telemetry", b"{}", qos=1)
        async with maintaining(mine, database):
            # In parts where the broker counted while they were published.
            numbers = await until(told_all)
            assert numbers is not None
            assert sum(numbers) == 7
        # As after a day, but for the newest, which says how far was told.
        await connection.execute("UPDATE outbox SET fanned_out_at = now() - interval '2 days'")
        await prune_outbox(connection, keep_days=1)
        known = await read_last_dropped(connection)
        assert known is not None
        assert known.total == 7
        async with maintaining(mine, database) as again:
            beaten = "SELECT count(*) FROM heartbeats WHERE role = 'broker'"
            await connection.execute("DELETE FROM heartbeats")
            await until(lambda: connection.fetchval(beaten))
            await asyncio.sleep(1)
            assert again.state == "working"
            assert await told() == numbers[-1:]
    await connection.close()


async def test_the_removal_of_boxes_waits_for_the_other_jobs_turn(
    database: Database,
    tenant: Tenant,
    site_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintain_module, "_SLICE", 2)
    monkeypatch.setattr(maintain_module, "_EVENT_SLICE", 2)
    monkeypatch.setattr(maintain_module, "_PURGE_S", 0.0)
    connection = await database.connect()
    for name in ("a", "b"):
        made = await tenant.client.post("/v1/boxes", json={"id": name, "site_id": site_id})
        assert made.status_code == 201
    await connection.execute(
        "INSERT INTO samples (box_key, time, pm2_5) SELECT key, now() - n * interval '1 minute', 10 "
        "FROM boxes, generate_series(1, 3) n"
    )
    await connection.execute(
        "INSERT INTO events (id, box_key, organisation_id, time, type, candidates, received_at) "
        "SELECT gen_random_uuid(), key, organisation_id, now() - n * interval '1 minute', 'gunshot', '[]', "
        "now() FROM boxes, generate_series(1, 3) n WHERE id = 'b'"
    )
    await connection.execute("UPDATE boxes SET deleted_at = now() - interval '1 hour'")
    left: list[tuple[int, ...]] = []

    async def count(_: asyncpg.Connection) -> None:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM boxes), (SELECT count(*) FROM samples), "
            "(SELECT count(*) FROM events)"
        )
        assert row is not None
        left.append(tuple(row))

    jobs = [_Job("purge", 30.0, _purge_boxes), _Job("other", 1.0, count)]
    async with working_as("maintain", database) as opened:
        working = await opened.connect()
        for _ in range(7):
            await _run_due_jobs(working, jobs, lambda: None)
        await working.close()
    await connection.close()
    # Two samples or events at a time, or what is left of a box; then it is not due any more.
    steps = [(2, 4, 3), (1, 3, 3), (1, 1, 3), (1, 0, 1), (0, 0, 0)]
    assert left == [*steps, steps[-1], steps[-1]]
    assert jobs[0].due > 0


async def test_a_deleted_box_waits_until_the_broker_has_removed_its_configuration(
    database: Database, tenant: Tenant, site_id: str, settings: VigieSettings
) -> None:
    connection = await database.connect()
    for name in ("configured", "reported", "cleared"):
        made = await tenant.client.post("/v1/boxes", json={"id": name, "site_id": site_id})
        made.raise_for_status()
    for name in ("configured", "cleared"):
        put = await tenant.client.put(f"/v1/boxes/{name}/config", json={"config": {"interval_s": 30}})
        assert put.json()["published"]
    (await tenant.client.delete("/v1/boxes/cleared/config")).raise_for_status()
    key = await connection.fetchval("SELECT key FROM boxes WHERE id = 'reported'")
    await store_reported_configs(connection, {key: {"a": 1}}, now=await connection.fetchval("SELECT now()"))
    for name in ("configured", "reported", "cleared"):
        (await tenant.client.delete(f"/v1/boxes/{name}")).raise_for_status()
    await connection.execute("UPDATE boxes SET deleted_at = now() - interval '1 hour'")

    async def left() -> list[str]:
        return [row[0] for row in await connection.fetch("SELECT id FROM boxes ORDER BY id")]

    async def is_purged() -> bool:
        return len(await left()) < 2

    async def is_empty() -> bool:
        return not await left()

    unreachable = settings.broker.model_copy(update={"port": 1})
    async with maintaining(settings.model_copy(update={"broker": unreachable}), database):
        # The broker has no configuration of the other boxes.
        await until(is_purged)
    assert await left() == ["configured"]
    async with maintaining(settings, database):
        await until(is_empty)
    await connection.close()


async def test_secrets_are_sealed_and_old_deliveries_forgotten(
    settings: VigieSettings, database: Database
) -> None:
    connection = await database.connect()
    owner = await add_organisation(connection)
    endpoint, secret = await add_endpoint(connection, owner, "https://example.com/")
    old = ago(days=settings.webhooks.keep_days + 1)
    await add_delivery(connection, owner, endpoint, created_at=old)
    await add_delivery(connection, owner, endpoint)

    async def done() -> bool:
        left = await connection.fetchval("SELECT count(*) FROM deliveries")
        stored = await connection.fetchval("SELECT secret FROM webhook_endpoints")
        return left == 1 and str(stored).startswith("sealed:")

    async with maintaining(settings, database):
        await until(done)
    stored = await connection.fetchval("SELECT secret FROM webhook_endpoints")
    assert open_secret(SecretSealer.of(settings.encryption), endpoint, stored) == secret
    await connection.close()


async def test_an_api_on_another_machine_has_accounts_written_at_once(
    site_id: str, settings: VigieSettings, database: Database, mosquitto: PrivateMosquitto
) -> None:
    file = mosquitto.password_file
    replace_file_text(file, "")

    async def is_written() -> bool:
        return file.stat().st_size > 0

    async with maintaining(settings, database):
        # The first round of jobs has read the accounts.
        assert await until(is_written)
        await add_box(database, site_id, "box-1", "secret")
        assert not await accepts(mosquitto, "box-1", "secret")
        # The job itself comes once a minute.
        await sync_password_file(database, BrokerSettings(password_file=None))
        async with asyncio.timeout(60):
            while not await accepts(mosquitto, "box-1", "secret"):  # noqa: ASYNC110 (the broker sends no signal)
                await asyncio.sleep(0.1)
