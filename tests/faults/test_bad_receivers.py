"""Bad receivers: each attempt is bounded and named, and other endpoints are not held up."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

import asyncpg
import pytest

from app.notifications.delivery.dispatcher import DeliveryDispatcher
from app.notifications.http.http_transport import HttpTransport
from app.platform.db.database import Database
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.faults.bad_receivers import EXPECTED, BadReceiver, FakeResolver
from tests.faults.harness import FaultOutcome, FaultReport, FaultSize
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    emit,
    event,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving, status
from tests.scenarios.processes import until

pytestmark = pytest.mark.fault

_KEPT: int = 4096
# Longer than a machine stalls: else a receiver that answers is found to hang.
_LIMIT_S = 8.0
_HELD_UP_S = _LIMIT_S / 2


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_17_bad_receivers(
    settings: VigieSettings,
    database: Database,
    connection: asyncpg.Connection,
    size: FaultSize,
    report: FaultReport,
) -> None:
    """While every bad receiver has attempts under way, a good one gets all of its events as soon as alone."""
    chosen = with_webhooks(
        settings,
        connect_timeout_s=3.0,
        total_timeout_s=size.of(_LIMIT_S, 15.0),
        lease_s=20,
        schedule_s=[0, 0.1],
        breaker_max_s=0.1,
    )
    good, each = size.of(40, 1000), size.of(3, 8)
    organisation, bad, names, stop = (
        await add_organisation(connection),
        BadReceiver(),
        FakeResolver(),
        asyncio.Event(),
    )
    await names.register()
    async with bad.receivers() as urls, receiving(status(204)) as receiver:
        endpoints = {
            name: (await add_endpoint(connection, organisation, url, events=["bad"]))[0]
            for name, url in urls.items()
        }
        await add_endpoint(connection, organisation, receiver.url, events=["good"])
        pool = await database.pool(size=4)
        sender = HttpTransport(chosen.webhooks, SecretSealer([]), names, bad.trusted)  # type: ignore[arg-type] # guarded
        async with sender:
            dispatcher = asyncio.create_task(
                DeliveryDispatcher(chosen.webhooks, pool, sender).run(database, stop)
            )
            await emit(connection, *(event(organisation, type_="good") for _ in range(good)))
            await receiver.wait(good, 60)
            await until(lambda: _all_tried(connection, good), patience_s=60)
            alone = await _delays(connection)
            await emit(connection, *(event(organisation, type_="bad") for _ in range(each)))
            await emit(connection, *(event(organisation, type_="good") for _ in range(good)))
            await receiver.wait(2 * good, 60)
            await until(lambda: _all_tried(connection, 2 * good), patience_s=60)
            beside = await _delays(connection, leaving_out=good)
            hanging = "SELECT count(*) FROM delivery_attempts WHERE endpoint_id = $1 AND reason = 'delivered'"
            assert await connection.fetchval(hanging, endpoints["hang"]) == 0
            healed_at = time.monotonic()
            await until(lambda: _given_up(connection), patience_s=size.of(60, 400))
            recovery = time.monotonic() - healed_at
            bad.over.set()
            stop.set()
            await dispatcher
        await pool.close()
    got = {entry.headers["webhook-id"] for entry in receiver.got}
    report.add(
        f"17 {len(urls)} bad receivers, others undisturbed",
        FaultOutcome(2 * good, len(got), 2 * good - len(got), len(receiver.got) - len(got), recovery),
    )
    report.note(
        f"17: good one's delay to the attempt, median / 95 % / longest: alone {_shown(alone)}, "
        f"beside {len(urls)} bad ones {_shown(beside)}"
    )
    # Where it is slow alone, the machine has other things to do.
    assert beside[-1] < alone[-1] + max(_HELD_UP_S, 2 * alone[-1]), "it was held up by others"
    await _check_reasons(connection, endpoints, chosen.webhooks.total_timeout_s, report)


async def _all_tried(connection: asyncpg.Connection, count: int) -> bool:
    query = "SELECT count(*) FROM deliveries WHERE type = 'good' AND state = 'delivered'"
    return bool(await connection.fetchval(query) == count)


async def _given_up(connection: asyncpg.Connection) -> bool:
    left = "SELECT count(*) FROM deliveries WHERE type = 'bad' AND state = 'pending'"
    return not await connection.fetchval(left)


async def _delays(connection: asyncpg.Connection, *, leaving_out: int = 0) -> list[float]:
    """From event to first attempt of the good receiver's deliveries but the first ones, sorted (seconds)."""
    rows = await connection.fetch(
        "SELECT extract(epoch FROM a.started_at - d.created_at)::float8 AS delay "
        "FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id "
        "WHERE d.type = 'good' AND a.number = 1 ORDER BY d.created_at OFFSET $1",
        leaving_out,
    )
    return sorted(row["delay"] for row in rows)


def _shown(delays: list[float]) -> str:
    parts = (delays[len(delays) // 2], delays[len(delays) * 95 // 100], delays[-1])
    return " / ".join(f"{part * 1000:.0f} ms" for part in parts)


async def _check_reasons(
    connection: asyncpg.Connection, endpoints: Mapping[str, UUID], limit_s: float, report: FaultReport
) -> None:
    query = """
        SELECT reason, status, count(*) AS count, max(duration_ms) AS longest,
            max(octet_length(response_body)) AS kept
        FROM delivery_attempts WHERE endpoint_id = $1 GROUP BY reason, status ORDER BY reason
    """
    found = {name: await connection.fetch(query, endpoint) for name, endpoint in endpoints.items()}
    for name, rows in found.items():
        words = "; ".join(
            f"{row['reason']}{'' if row['status'] is None else f' {row["status"]}'} in all "
            f"{row['count']} attempts, {row['longest']:.0f} ms at most"
            for row in rows
        )
        report.note(f"17: {name}: {words}")
    reasons = {name: {row["reason"] for row in rows} for name, rows in found.items()}
    assert reasons.keys() == EXPECTED.keys()
    assert {name: seen - EXPECTED[name] for name, seen in reasons.items() if not seen <= EXPECTED[name]} == {}
    assert all(reasons.values()), "each was tried"
    rows = [row for all_of_one in found.values() for row in all_of_one]
    assert max(row["longest"] for row in rows) < 2 * limit_s * 1000
    assert max(row["kept"] or 0 for row in rows) <= _KEPT
