"""Calls that arrive together: each is answered as if it had come alone, whatever the others are."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from app.ingest import group_committer
from app.ingest.http_ingest_service import HttpIngestContext
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.ingest.prometheus_metrics import HTTP_GROUP_CALLS
from app.platform.db.advisory_lock_keys import INGEST_BARRIER
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import new_tenant
from tests.integration.ingest.call_worlds import POISON, Call, World, at, calls_of, sample, telemetry

_NEVER = """
CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.pm2_5 = 667 THEN RAISE 'locked' USING ERRCODE = '55P03'; END IF; RETURN NEW;
END $$;
CREATE TRIGGER never BEFORE INSERT ON samples FOR EACH ROW EXECUTE FUNCTION never();
"""


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    """The settings without limits of concurrency, which would keep calls from waiting together."""
    unlimited = {"running_per_key": 0, "running_per_organisation": 0}
    return settings.model_copy(update={"api": settings.api.model_copy(update=unlimited)})


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    connection.terminate()


@pytest.fixture
async def committer(application: FastAPI, monkeypatch: pytest.MonkeyPatch) -> group_committer.GroupCommitter:
    """The committer, whose groups wait for each other, and whose quotas are read for each group."""
    monkeypatch.setattr(group_committer, "_PATIENCE_S", 60.0)
    pipeline = IngestPipeline(RegistryCache(), quota_cache=QuotaCache(every_s=0))
    context = HttpIngestContext(pipeline, get_resource(application, HttpIngestContext).pool)
    provide_resources(application, context)
    return context.committer


def _groups() -> tuple[float, float]:
    """How many groups there were, and how many calls in them."""
    (metric,) = HTTP_GROUP_CALLS.collect()
    found = {each.name.rpartition("_")[2]: each.value for each in metric.samples if "le" not in each.labels}
    return found["count"], found["sum"]


@asynccontextmanager
async def held(
    committer: group_committer.GroupCommitter, owner: asyncpg.Connection, first: Callable[[], Awaitable[Any]]
) -> AsyncIterator[None]:
    """Have a call wait for the barrier, for the length of a block: what is sent then is the next group."""
    await queued(committer, 0, workers=0)
    async with owner.transaction():
        await owner.execute(f"SELECT pg_advisory_xact_lock({INGEST_BARRIER})")
        holding = asyncio.ensure_future(first())
        await queued(committer, 0, workers=1)
        yield
    await holding


async def queued(committer: group_committer.GroupCommitter, calls: int, *, workers: int = 1) -> None:
    """Wait until so many calls wait for a group."""
    async with asyncio.timeout(60):
        # The committer has no event for it: it needs none.
        while len(committer._queue) != calls or len(committer._workers) != workers:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.fixture
async def worlds(
    application: FastAPI, api: httpx.AsyncClient, owner: asyncpg.Connection
) -> AsyncIterator[tuple[World, World]]:
    await owner.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    async with (
        new_tenant(application, api, "A") as a,
        new_tenant(application, api, "B") as b,
        new_tenant(application, api, "C") as c,
        new_tenant(application, api, "D") as d,
    ):
        made = World("together-", a, b), World("singly---", c, d)
        for world in made:
            await world.register()
        yield made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("enough", [200_000, 5], ids=["whole", "in parts"])
async def test_each_call_of_a_group_is_answered_as_if_it_had_come_alone(
    *,
    worlds: tuple[World, World],
    api: httpx.AsyncClient,
    committer: group_committer.GroupCommitter,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    enough: int,
) -> None:
    """A group with many rules needs several transactions, which end between calls or within a large one."""
    monkeypatch.setattr("app.ingest.pipeline.transaction_sizing._ENOUGH", enough)
    grouped, single = worlds
    minute = 0

    async def compare(calls: Sequence[Call], quota: int) -> None:
        used = await owner.fetchval(
            "SELECT coalesce(sum(used), 0)::int FROM organisation_usage"
            " WHERE organisation_id = $1::text::uuid",
            grouped.limited.id,
        )
        for world in worlds:
            path = f"/v1/organisations/{world.limited.id}/quotas"
            (await api.put(path, json={"samples_per_day": used + quota})).raise_for_status()
        before = _groups()
        prime = telemetry("2", [{"time": at(minute, 59), "values": {"pm2_5": 1}}])
        async with held(committer, owner, lambda: grouped.send(prime, 0)):
            sending = []
            for number, call in enumerate(calls):
                sending.append(asyncio.ensure_future(grouped.send(call, number)))
                await queued(committer, number + 1)
        together = await asyncio.gather(*sending)
        after = _groups()
        assert (after[0] - before[0], after[1] - before[1]) == (2, 1 + len(calls))
        await single.send(prime, 0)
        alone = [await single.send(call, number) for number, call in enumerate(calls)]
        assert together == alone
        for mine, theirs in zip(await grouped.left(owner), await single.left(owner), strict=True):
            assert [row for row in mine if row not in theirs] == [row for row in theirs if row not in mine]
            assert mine == theirs

    loop = asyncio.get_running_loop()

    @hypothesis.settings(max_examples=40)
    @given(st.data())
    def play(data: st.DataObject) -> None:
        nonlocal minute
        minute += 1
        calls = data.draw(st.lists(calls_of(minute), min_size=1, max_size=12))
        quota = data.draw(st.integers(0, 6))
        asyncio.run_coroutine_threadsafe(compare(calls, quota), loop).result(60)

    await asyncio.to_thread(play)


async def test_a_call_that_the_database_refuses_fails_alone(
    worlds: tuple[World, World], committer: group_committer.GroupCommitter, owner: asyncpg.Connection
) -> None:
    world, _ = worlds
    good = [telemetry("0", [sample(minute)]) for minute in range(6)]
    bad = telemetry("1", [sample(0, POISON)])
    async with held(committer, owner, lambda: world.send(telemetry("2", [sample(0)]), 0)):
        sending = [asyncio.ensure_future(world.send(call, 0)) for call in (*good[:3], bad, *good[3:])]
        await queued(committer, len(sending))
    answers = await asyncio.gather(*sending)
    assert [status for status, _, _ in answers] == [200] * 3 + [422] + [200] * 3
    assert json.loads(answers[3][2])["code"] == "storage_refused"


async def test_a_call_that_never_gets_through_is_told_so_alone(
    worlds: tuple[World, World], committer: group_committer.GroupCommitter, owner: asyncpg.Connection
) -> None:
    """Its transaction always fails, as that of a box whose row another process never lets go."""
    world, _ = worlds
    await owner.execute(_NEVER)
    calls = [telemetry(str(number), [sample(1, 667 if number == 1 else 1)]) for number in range(3)]
    async with held(committer, owner, lambda: world.send(telemetry("2", [sample(0)]), 0)):
        sending = [asyncio.ensure_future(world.send(call, 0)) for call in calls]
        await queued(committer, len(sending))
    assert [status for status, _, _ in await asyncio.gather(*sending)] == [200, 503, 200]
    await owner.execute("DROP TRIGGER never ON samples")
    again = [json.loads((await world.send(call, 0))[2]) for call in calls]
    assert [(answer["stored"], answer["duplicate"]) for answer in again] == [(0, 1), (1, 0), (0, 1)]


async def test_who_goes_away_stops_nobody_else(
    worlds: tuple[World, World], committer: group_committer.GroupCommitter, owner: asyncpg.Connection
) -> None:
    """One leaves before its group begins, and is left out; one amid the commit, and is stored."""
    world, _ = worlds
    calls = [telemetry("0", [sample(minute)]) for minute in range(4)]
    async with held(committer, owner, lambda: world.send(calls[0], 0)):
        early, *rest = (asyncio.ensure_future(world.send(call, 0)) for call in calls[1:])
        await queued(committer, 3)
        early.cancel()
    assert [json.loads(body)["stored"] for _, _, body in await asyncio.gather(*rest)] == [1, 1]
    again = [json.loads((await world.send(call, 0))[2]) for call in calls]
    assert [answer["duplicate"] for answer in again] == [1, 0, 1, 1]
    await queued(committer, 0, workers=0)
    async with owner.transaction():
        await owner.execute("SELECT FROM box_states FOR UPDATE")
        late = asyncio.ensure_future(world.send(telemetry("0", [sample(10)]), 0))
        await queued(committer, 0, workers=1)
        stays = asyncio.ensure_future(world.send(telemetry("0", [sample(11)]), 0))
        await queued(committer, 1)
        late.cancel()
    assert json.loads((await stays)[2])["stored"] == 1
    assert json.loads((await world.send(telemetry("0", [sample(10)]), 0))[2])["duplicate"] == 1


async def test_calls_that_wait_when_the_database_goes_away_can_be_sent_again(
    worlds: tuple[World, World],
    committer: group_committer.GroupCommitter,
    owner: asyncpg.Connection,
    postgres: PrivatePostgres,
) -> None:
    world, _ = worlds
    calls = [telemetry(str(number % 3), [sample(number)]) for number in range(6)]
    name = await owner.fetchval("SELECT current_database()")
    server = await asyncpg.connect(postgres.superuser_url)
    async with held(committer, owner, lambda: world.send(telemetry("2", [sample(59)]), 0)):
        sending = [asyncio.ensure_future(world.send(call, 0)) for call in calls]
        await queued(committer, len(calls))
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> $2"
        await server.execute(query, name, owner.get_server_pid())
        answers = await asyncio.gather(*sending)
    assert {status for status, _, _ in answers} == {503}
    assert {json.loads(body)["code"] for _, _, body in answers} == {"unavailable"}
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await server.close()
    again = await asyncio.gather(*(world.send(call, 0) for call in calls))
    assert [json.loads(body)["stored"] for _, _, body in again] == [1] * len(calls)


async def test_backends_that_are_ended_amid_a_commit_cost_nobody_an_answer(
    worlds: tuple[World, World], committer: group_committer.GroupCommitter, owner: asyncpg.Connection
) -> None:
    world, _ = worlds
    await world.send(telemetry("0", [sample(0)]), 0)
    await queued(committer, 0, workers=0)
    async with owner.transaction():
        await owner.execute("SELECT FROM box_states FOR UPDATE")
        sending = [asyncio.ensure_future(world.send(telemetry("0", [sample(1)]), 0))]
        await queued(committer, 0, workers=1)
        sending += [asyncio.ensure_future(world.send(telemetry("0", [sample(n)]), 0)) for n in range(2, 6)]
        await queued(committer, 4)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    answers = [json.loads(body) for _, _, body in await asyncio.gather(*sending)]
    assert [answer["stored"] for answer in answers] == [1] * 5


async def test_clients_that_are_answered_together_are_together_in_the_next_group(
    worlds: tuple[World, World],
    committer: group_committer.GroupCommitter,
    owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_committer, "_GATHER_STEP_S", 2.0)
    monkeypatch.setattr(group_committer, "_GATHER_MOST_S", 60.0)
    world, _ = worlds
    await world.send(telemetry("2", [sample(1)]), 0)  # its box is shared, so that nothing is tried again

    async def call_twice(minute: int) -> None:
        await world.send(telemetry("2", [sample(minute)]), 0)
        await asyncio.sleep(0.1 * (minute - 10))
        await world.send(telemetry("2", [sample(minute + 10)]), 0)

    async with held(committer, owner, lambda: world.send(telemetry("2", [sample(0)]), 0)):
        groups, calls = _groups()
        sending = [asyncio.ensure_future(call_twice(minute)) for minute in range(10, 13)]
        await queued(committer, len(sending))
    await asyncio.gather(*sending)
    assert _groups() == (groups + 2, calls + 6)


async def test_workers_without_a_pause_let_others_have_a_connection(
    worlds: tuple[World, World],
    committer: group_committer.GroupCommitter,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_committer, "_GROUPS_KEPT", 3)
    pool = await database.pool(size=1, role="vigie_ingest")
    monkeypatch.setattr(committer, "_pool", pool)
    world, _ = worlds
    ended = asyncio.Event()

    async def call_on(box: str) -> int:
        number = 0
        while not ended.is_set():
            status, _, _ = await world.send(telemetry(box, [sample(number % 60, number % 60)]), 0)
            assert status == 200
            number += 1
        return number

    calling = [asyncio.ensure_future(call_on(box)) for box in "012"]
    async with asyncio.timeout(60):
        for _ in range(3):
            async with pool.acquire():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
    ended.set()
    assert min(await asyncio.gather(*calling)) > 0
    await committer.close()
    await pool.close()


async def test_what_was_accepted_is_committed_when_the_process_ends(
    worlds: tuple[World, World], committer: group_committer.GroupCommitter, owner: asyncpg.Connection
) -> None:
    world, _ = worlds
    async with held(committer, owner, lambda: world.send(telemetry("2", [sample(59)]), 0)):
        sending = [asyncio.ensure_future(world.send(telemetry("0", [sample(n)]), 0)) for n in range(3)]
        await queued(committer, 3)
        closing = asyncio.ensure_future(committer.close())
    await closing
    assert [json.loads(body)["stored"] for _, _, body in await asyncio.gather(*sending)] == [1] * 3
