"""Positions are assigned once, in an order in which no reader misses a commit, whoever dies meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import numpy as np
import pytest

from app.measurement_stream import sequencer
from app.measurement_stream.item_reader import START, read_items
from app.measurement_stream.items import Item, StreamFilter
from app.measurement_stream.sequencer import run_sequencer
from app.platform.db.database import Database
from app.platform.kernel.tenant_scope import TenantScope
from app.settings import VigieSettings
from app.timeseries.commit_log.commit_pages import read_commit_page
from app.timeseries.commit_log.commit_writer import CommitEntry, append_commits
from app.timeseries.commit_log.packed_identities import pack_keys, pack_times
from app.timeseries.commit_log.position_search import find_newest_position, find_position_before
from app.timeseries.commit_log.stream_positions import (
    FULL_SCAN_EVERY_S,
    MOST_ASSIGNED,
    PositionAssigner,
    measure_position_lag,
    prune_commits,
    read_stream_head,
)
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import send
from tests.integration.notifications.helpers import until

_POSITIONS = "SELECT array_agg(stream_position ORDER BY id) FROM measurement_commits"

_ENTRIES_READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index
WHERE indrelid = 'measurement_commits'::regclass
"""


@pytest.fixture
async def owner(settings: VigieSettings) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(settings.database.url)
    yield opened
    await opened.close()


async def _has_assigned(connection: asyncpg.Connection) -> bool:
    return (await PositionAssigner(connection).assign()).rows > 0


async def _is_drained(connection: asyncpg.Connection) -> bool:
    return not (await measure_position_lag(connection)).waiting


def entry(organisation: UUID, number: int) -> CommitEntry:
    return CommitEntry(organisation, "samples", np.array([1], np.int32), np.array([number], np.int64))


async def test_commits_that_overlap_are_all_read(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    """The later transaction commits first: its row is read, and the earlier one comes after it."""
    organisation = UUID(tenant.id)
    async with contextlib.AsyncExitStack() as stack:
        connections = [await asyncpg.connect(settings.database.url) for _ in range(3)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        transactions = [connection.transaction() for connection in connections]
        for number, (connection, transaction) in enumerate(zip(connections, transactions, strict=True)):
            await transaction.start()
            await append_commits(connection, [entry(organisation, number)])
        order = []
        for number in (2, 0, 1):
            await transactions[number].commit()
            assert (await PositionAssigner(owner).assign()).rows == 1
            order.append((await read_stream_head(owner)).position)
    assert order == sorted(order)
    positions = await owner.fetchval(_POSITIONS)
    assert positions == [order[1], order[2], order[0]]


async def test_only_one_process_assigns(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await append_commits(owner, [entry(UUID(tenant.id), number) for number in range(50)])
    others = [await asyncpg.connect(settings.database.url) for _ in range(4)]
    try:
        results = await asyncio.gather(*(PositionAssigner(each, most=7).assign() for each in others))
        assigner = PositionAssigner(owner, most=7)
        while (await assigner.assign()).rows:
            pass
    finally:
        for each in others:
            await each.close()
    assert sum(result.rows for result in results) <= 28
    positions = await owner.fetchval(_POSITIONS)
    assert len(set(positions)) == 50
    assert positions == sorted(positions)


async def test_a_sequencer_that_dies_leaves_no_gap_in_what_is_read(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await append_commits(owner, [entry(UUID(tenant.id), number) for number in range(5)])
    dying = await asyncpg.connect(settings.database.url)
    transaction = dying.transaction()
    await transaction.start()
    await PositionAssigner(dying).assign()
    assert (await PositionAssigner(owner).assign()).blocked
    assert (await read_stream_head(owner)).position == 0
    drawn = (await read_stream_head(owner)).last_assigned
    await owner.execute("SELECT pg_terminate_backend($1)", dying.get_server_pid())
    await until(lambda: _has_assigned(owner))
    positions = await owner.fetchval(_POSITIONS)
    assert positions == sorted(positions)
    # The numbers that the dead one drew are not assigned again.
    assert positions[0] > drawn
    dying.terminate()


async def test_looks_leave_out_old_entries_and_find_late_commits(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    """An old snapshot keeps the index's entries of rows that have positions; each look would read them."""
    organisation, now = UUID(tenant.id), 0.0
    assigner = PositionAssigner(owner, clock=lambda: now)
    late, old = [await asyncpg.connect(settings.database.url) for _ in range(2)]
    await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await old.fetchval("SELECT count(*) FROM measurement_commits")
    await late.execute("BEGIN")
    await append_commits(late, [entry(organisation, 0)])
    await append_commits(owner, [entry(organisation, number) for number in range(1, 3001)])
    assert [(await assigner.assign()).rows for _ in range(3)] == [MOST_ASSIGNED, 3000 - MOST_ASSIGNED, 0]
    for _ in range(2):
        now += FULL_SCAN_EVERY_S
        assert (await assigner.assign()).rows == 0

    # The statistics are sent to the server between transactions.
    async with owner.transaction():
        before = await owner.fetchval(_ENTRIES_READ)
        assert (await assigner.assign()).rows == 0
        assert await owner.fetchval(_ENTRIES_READ) - before < 10
    # A transaction that overlaps with its successors shortly is found by the next look.
    await append_commits(owner, [entry(organisation, 3001)])
    assert (await assigner.assign()).rows == 1
    await late.execute("COMMIT")
    assert (await assigner.assign()).rows == 0
    now += FULL_SCAN_EVERY_S
    assert (await assigner.assign()).rows == 1
    for each in (late, old):
        await each.close()


async def test_a_burst_after_an_idle_time_is_not_compared_with_all_rows(
    owner: asyncpg.Connection, tenant: Tenant
) -> None:
    """Vacuum has seen the table empty, so the planner expects one row of it."""
    organisation = UUID(tenant.id)
    await append_commits(owner, [entry(organisation, 0)])
    await owner.execute("DELETE FROM measurement_commits")
    await owner.execute("VACUUM (TRUNCATE off) measurement_commits")
    await append_commits(owner, [entry(organisation, number) for number in range(3 * MOST_ASSIGNED)])
    async with owner.transaction():
        before = await owner.fetchval(_ENTRIES_READ)
        assert (await PositionAssigner(owner).assign()).rows == MOST_ASSIGNED
        assigned = await owner.fetchval(_ENTRIES_READ)
        assert assigned - before < 2 * MOST_ASSIGNED
        page = await read_commit_page(owner, [organisation], 0, None, 100)
        assert len(page.rows) == 100
        assert await owner.fetchval(_ENTRIES_READ) - assigned < MOST_ASSIGNED


async def test_a_quiet_organisation_passes_no_rows_of_others(
    owner: asyncpg.Connection, tenant: Tenant, other_tenant: Tenant
) -> None:
    """As the API reads: row-level security would pass them one after the other."""
    quiet, busy, many = UUID(tenant.id), UUID(other_tenant.id), 1000
    for organisation, count in ((busy, many), (quiet, 3), (busy, many)):
        await append_commits(owner, [entry(organisation, number) for number in range(count)])
    assert (await PositionAssigner(owner, most=2 * many + 3).assign()).rows == 2 * many + 3
    await owner.execute("VACUUM ANALYZE measurement_commits")
    own = await owner.fetchval(f"{_POSITIONS} WHERE organisation_id = $1", quiet)
    async with owner.transaction():
        await owner.execute("SET LOCAL ROLE vigie_api")
        await owner.execute("SELECT set_config('vigie.reach', $1, true)", tenant.id)
        before = await owner.fetchval(_ENTRIES_READ)
        page = await read_commit_page(owner, [quiet], own[1], None, 100)
        assert ([row.position for row in page.rows], page.end, page.full) == (own[1:], own[2], False)
        page = await read_commit_page(owner, [quiet], own[2] + 1, None, 100)
        assert (page.rows, page.full) == ([], False)
        # As a statement that is prepared for any organisation.
        await owner.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        assert await find_newest_position(owner, quiet) == own[2]
        # Its rows got their positions at different times, and the others' are on both sides.
        times = await owner.fetch("SELECT positioned_at FROM measurement_commits ORDER BY stream_position")
        assert await find_position_before(owner, quiet, times[1][0]) == own[0]
        assert await find_position_before(owner, quiet, page.read_at) == own[2]
        assert await find_position_before(owner, quiet, times[0][0]) == 0
        assert await owner.fetchval(_ENTRIES_READ) - before < many / 2


async def test_a_restored_database_assigns_no_position_again(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    """The sequence of a backup, or of a standby that was behind, is behind what was sent."""
    organisation, sent = UUID(tenant.id), 0
    database = Database(settings.database, application="tests", role="vigie_deliver")
    restored_to = await owner.fetchval("SELECT nextval('measurement_positions')")
    for number in range(3):
        connection = await database.connect()
        assigner = PositionAssigner(connection)
        # Tokens that were issued before are valid at once.
        assert not (await assigner.assign()).rows
        assert (await read_stream_head(owner)).last_assigned >= sent
        await append_commits(owner, [entry(organisation, number), entry(organisation, number + 10)])
        assert (await assigner.assign()).rows == 2
        await connection.close()
        positions = await owner.fetchval(_POSITIONS)
        assert positions[0] > sent
        sent = positions[-1]
        await owner.execute("DELETE FROM measurement_commits")
        await owner.execute("SELECT setval('measurement_positions', $1)", restored_to)
    await database.close()


async def test_two_sequencers_at_once_lose_nothing(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    """Four writers, two sequencers of which one is replaced all the time, and a reader that follows."""
    database = Database(settings.database, application="tests", role="vigie_deliver")
    stop = asyncio.Event()
    steady = asyncio.create_task(run_sequencer(database, stop))
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        for second in range(25):
            await send(tenant, boxes[number % 3], (number * 1000 + second, {"pm2_5": second}))
            written += 1

    async def replace_sequencers() -> None:
        while not stop.is_set():
            ending = asyncio.Event()
            task = asyncio.create_task(run_sequencer(database, ending))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def follow() -> list[Item]:
        found: list[Item] = []
        after, scope = START, TenantScope.of([UUID(tenant.id)])
        connection = await database.connect()
        async with asyncio.timeout(60):
            while len(found) < 100:
                page = await read_items(connection, scope, after, StreamFilter(), 10)
                found += page.items
                after = page.next
                await asyncio.sleep(0.001)
        await connection.close()
        return found

    replacing = asyncio.create_task(replace_sequencers())
    following = asyncio.create_task(follow())
    try:
        await asyncio.gather(*(write(number) for number in range(4)))
        found = await following
    finally:
        stop.set()
        await asyncio.gather(steady, replacing)
        await database.close()
    assert written == 100
    assert len({(item.box, item.time_us) for item in found}) == 100
    assert [(item.position, item.index) for item in found] == sorted(
        (item.position, item.index) for item in found
    )


async def test_a_backlog_is_drained_and_measured(
    settings: VigieSettings, owner: asyncpg.Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test ends only if the sequencer goes on without a pause.
    monkeypatch.setattr(sequencer, "_POLL_S", 3600)
    count = 3 * MOST_ASSIGNED
    began = time.monotonic()
    await owner.execute(
        "INSERT INTO measurement_commits (organisation_id, kind, items, box_keys, times_us, committed_at) "
        "SELECT $1, 'samples', 1, $3, $4, now() - interval '1 minute' FROM generate_series(1, $2)",
        UUID(tenant.id),
        count,
        pack_keys(np.array([1], np.int32)),
        pack_times(np.array([0], np.int64)),
    )
    lag = await measure_position_lag(owner)
    assert lag.waiting == count
    assert 60 <= lag.oldest_s <= 60.1 + time.monotonic() - began
    database = Database(settings.database, application="tests", role="vigie_deliver")
    stop = asyncio.Event()
    running = asyncio.create_task(run_sequencer(database, stop))
    await until(lambda: _is_drained(owner))
    stop.set()
    await running
    await database.close()
    await owner.execute(
        "UPDATE measurement_commits SET positioned_at = now() - interval '8 days' "
        "WHERE stream_position < (SELECT min(stream_position) FROM measurement_commits) + $1",
        count // 2,
    )
    await prune_commits(owner, 7)
    assert await owner.fetchval("SELECT count(*) FROM measurement_commits") == count / 2
