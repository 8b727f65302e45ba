"""Alerts in cases that were once wrong: each is what a single sample after the other would have given."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.timeseries.storage.rule_lookback import read_past_values
from tests.conftest import Tenant
from tests.integration.ingest.pipeline import test_rule_context
from tests.integration.ingest.pipeline.test_rule_context import (
    ABOVE,
    BOXES,
    START,
    Door,
    Sent,
    add_rule,
    oracle,
    stored,
)

boxes, door = test_rule_context.boxes, test_rule_context.door
pytestmark = pytest.mark.usefixtures("boxes")


@pytest.fixture(autouse=True)
async def utc(tenant: Tenant, site_id: str) -> None:
    (await tenant.client.patch(f"/v1/sites/{site_id}", json={"timezone": "UTC"})).raise_for_status()


S = 1_000_000
T0 = from_datetime(START)
MEAN = {"metric": "pm2_5", "operator": ">", "threshold": 25, "function": "mean", "window": "PT20S"}
# The day before yesterday, an hour before the nightly rule ends.
FIVE = from_datetime(START.replace(hour=5, minute=0, second=0))
NIGHT = {"severity": "info", "condition": ABOVE, "active": [{"from": "22:00", "to": "06:00"}]}


def pm(box: str, at_us: int, value: float) -> Sent:
    return Sent(box, at_us, {"pm2_5": value})


async def one_by_one(door: Door, stream: Sequence[Sent]) -> None:
    for sent in stream:
        await door.take([sent])


async def spans(connection: asyncpg.Connection) -> list[tuple[str, int, int]]:
    """Of each alert its box, and when it began and ended, in seconds after T0."""
    return [
        (box, (begin - T0) // S, end and (end - T0) // S)
        for _, box, begin, end, _ in await stored(connection)
    ]


async def test_a_rule_that_others_read_meanwhile_disturbs_no_batch(
    door: Door, tenant: Tenant, site_id: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls of a process share what they know of rules; each works on one edition of it."""
    across = {"severity": "info", "condition": {"boxes": ABOVE, "at_least": 1}}
    await add_rule(tenant, site_id, "one", across)
    await door.take([pm("box-0", T0, 10)], by_http=True)
    done: list[bool] = []

    async def between(connection: asyncpg.Connection, wanted: Mapping[int, Any]) -> Any:  # noqa: ANN401 (as it is)
        if not done:
            done.append(True)
            await add_rule(tenant, site_id, "two", across | {"condition": {"boxes": MEAN, "at_least": 1}})
            other = await database.connect()
            await door.other.registry.refresh(other)
            other.terminate()
        return await read_past_values(connection, wanted)

    monkeypatch.setattr("app.ingest.pipeline.rule_context.read_past_values", between)
    receipt = await door.take([pm("box-0", T0 + S, 11)], by_http=True)
    assert done
    assert (receipt.stored, receipt.rejections) == (1, [])


@pytest.mark.parametrize("by_http", [False, True])
async def test_a_window_is_read_back_from_the_newest_value_of_its_own_metric(
    door: Door,
    tenant: Tenant,
    site_id: str,
    by_http: bool,  # noqa: FBT001 (a parameter)
) -> None:
    """One sensor of the box is a minute and a half behind the others."""
    await add_rule(tenant, site_id, "mean", {"severity": "info", "condition": MEAN})
    before = [pm("box-0", T0 + n * S, 20) for n in range(18)]
    before.append(Sent("box-0", T0 + 100 * S, {"temperature": 20.0}))
    after = [pm("box-0", T0 + n * S, 40) for n in range(18, 36)]
    await door.take(before)
    door.die()
    for sent in after:
        await door.take([sent], by_http=by_http)
    found = await stored(door.connection)
    assert found == await oracle(door.connection, before + after) != []


async def test_active_hours_of_a_plain_rule_end_though_nothing_comes(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await add_rule(tenant, site_id, "night", NIGHT)
    await door.take([pm("box-0", FIVE, 10)])
    await door.run_due_timers(FIVE + S)
    await door.take([pm("box-0", FIVE + 60 * S, 40)])
    for hours in (2, 3, 24):
        await door.run_due_timers(FIVE + hours * 3600 * S)
    assert [(begin, end) for _, _, begin, end, _ in await stored(door.connection)] == [
        (FIVE + 60 * S, FIVE + 3600 * S)
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_active_hours_of_a_plain_rule_end_in_the_order_of_arrival(
    door: Door, tenant: Tenant, site_id: str, size: int
) -> None:
    await add_rule(tenant, site_id, "night", NIGHT)
    warm = Sent("box-0", FIVE + 7200 * S, {"temperature": 20.0})
    stream = [pm("box-0", FIVE + 60 * S, 40), warm, pm("box-0", FIVE + 120 * S, 40)]
    while stream:
        await door.take(stream[:size])
        del stream[:size]
    await door.run_due_timers(FIVE + 3 * 3600 * S)
    assert [(begin, end) for _, _, begin, end, _ in await stored(door.connection)] == [
        (FIVE + 60 * S, FIVE + 3600 * S),
        (FIVE + 120 * S, FIVE + 3600 * S),
    ]


@pytest.mark.parametrize("size", [1, 4])
async def test_a_poison_row_of_one_box_does_not_change_the_order_of_another(
    door: Door, tenant: Tenant, site_id: str, size: int
) -> None:
    await door.connection.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    both = {"all": [{"event": "noise_peak", "window": "PT5S"}, ABOVE]}
    await add_rule(tenant, site_id, "both", {"severity": "critical", "condition": both})
    shot = Sent("box-0", T0 + S, {}, 0.9)
    stream = [pm("box-0", T0, 40), shot, pm("box-0", T0 + 60 * S, 40), pm("box-1", T0, 666)]
    while stream:
        await door.take(stream[:size])
        del stream[:size]
    assert await spans(door.connection) == [("box-0", 1, 6)]
    assert await door.connection.fetchval("SELECT count(*) FROM quarantine") == 1


async def test_what_a_failing_tick_had_looked_at_is_looked_at_again(
    door: Door, tenant: Tenant, site_id: str, database: Database
) -> None:
    await door.take([pm("box-0", T0, 10)])
    await door.run_due_timers(T0 + S)
    await add_rule(tenant, site_id, "silent", {"severity": "info", "condition": {"no_data": "PT15M"}})
    other = await database.connect()
    held = other.transaction()
    await held.start()
    await other.execute("LOCK TABLE alerts IN SHARE MODE")
    looking = asyncio.create_task(door.run_due_timers(T0 + 3600 * S))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'alerts'::regclass"
    async with asyncio.timeout(60):
        while not await other.fetchval(waiting):  # noqa: ASYNC110 (the server's word)
            await asyncio.sleep(0.02)
    await other.execute("SELECT pg_terminate_backend($1)", door.connection.get_server_pid())
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await looking
    await held.rollback()
    other.terminate()
    door.connection.terminate()
    door.connection = await database.connect()
    await door.run_due_timers(T0 + 7200 * S)
    assert await spans(door.connection) == [("box-0", 900, 0)]


@pytest.mark.parametrize("size", [1, 2])
async def test_events_of_several_boxes_are_judged_as_they_came(
    door: Door, tenant: Tenant, site_id: str, size: int
) -> None:
    any_shot = {"boxes": {"event": "noise_peak"}, "at_least": 1}
    await add_rule(tenant, site_id, "shots", {"severity": "info", "condition": any_shot})
    stream = [Sent("box-1", T0 + 10 * S, {}, 0.5), Sent("box-0", T0 + 5 * S, {}, 0.5)]
    while stream:
        await door.take(stream[:size])
        del stream[:size]
    assert [begin for _, begin, _ in await spans(door.connection)] == [10]


@pytest.mark.parametrize(
    "condition",
    [
        {"boxes": {"no_data": "PT10S"}, "at_least": 1},
        {**ABOVE, "box": "box-0"},
        {"boxes": ABOVE, "at_least": 1},
    ],
)
async def test_an_alert_on_a_site_ends_when_no_box_is_left_that_it_looks_at(
    door: Door, tenant: Tenant, site_id: str, condition: dict[str, Any]
) -> None:
    await add_rule(tenant, site_id, "site", {"severity": "info", "condition": condition})
    await door.take([pm(box, T0, 40) for box in BOXES])
    await door.run_due_timers(T0 + 60 * S)
    assert [end for *_, end in await spans(door.connection)] == [0]
    site = (await tenant.client.get(f"/v1/sites/{site_id}")).json()
    wanted = {name: site[name] for name in ("kind", "timezone", "location")} | {"name": "Elsewhere"}
    other = (await tenant.client.post("/v1/sites", json=wanted)).raise_for_status().json()["id"]
    for box in BOXES:
        (await tenant.client.patch(f"/v1/boxes/{box}", json={"site_id": other})).raise_for_status()
    door.die()
    await door.run_due_timers(T0 + 120 * S)
    rows = await door.connection.fetch("SELECT state, resolution FROM alerts")
    assert [tuple(row) for row in rows] == [("resolved", "rule_gone")]
    assert await door.connection.fetchval("SELECT count(*) FROM site_states WHERE due_us IS NOT NULL") == 0


@pytest.mark.parametrize("dies", [False, True])
async def test_a_rule_on_a_site_does_not_begin_before_a_sample_comes(
    door: Door,
    tenant: Tenant,
    site_id: str,
    dies: bool,  # noqa: FBT001 (a parameter)
) -> None:
    """Who takes over from one that died looks at fewer sites: none may begin anything for being looked at."""
    await door.take([pm("box-0", T0, 40)])
    await door.run_due_timers(T0)
    condition = {"boxes": ABOVE, "at_least": 1, "for": "PT5S"}
    await add_rule(tenant, site_id, "site", {"severity": "info", "condition": condition})
    if dies:
        door.die()
    await door.run_due_timers(T0 + 40 * S)
    await door.take([pm("box-0", T0 + 45 * S, 40)])
    assert await spans(door.connection) == []
    await door.take([pm("box-0", T0 + 50 * S, 40)])
    assert await spans(door.connection) == [("", 50, 0)]


@pytest.mark.parametrize("dies", [False, True])
async def test_a_box_that_leaves_makes_a_share_of_the_others_with_the_next_sample(
    door: Door,
    tenant: Tenant,
    site_id: str,
    dies: bool,  # noqa: FBT001 (a parameter)
) -> None:
    condition = {"boxes": ABOVE, "share": 50}
    await add_rule(tenant, site_id, "site", {"severity": "info", "condition": condition})
    await door.take([pm("box-0", T0, 40), pm("box-1", T0, 10), pm("box-2", T0, 10)])
    await door.run_due_timers(T0)
    (await tenant.client.delete("/v1/boxes/box-2")).raise_for_status()
    if dies:
        door.die()
    await door.run_due_timers(T0 + 40 * S)
    assert await spans(door.connection) == []
    await door.take([pm("box-0", T0 + 45 * S, 40)])
    assert await spans(door.connection) == [("", 45, 0)]


@pytest.mark.parametrize("waits", ["PT0S", "PT30M"])
async def test_a_silence_ends_with_the_first_sample_though_a_tick_was_ahead_of_it(
    door: Door, tenant: Tenant, site_id: str, waits: str
) -> None:
    silent = {"no_data": "PT15M", "for": waits}
    await add_rule(tenant, site_id, "silent", {"severity": "info", "condition": silent})
    await door.take([pm("box-0", T0, 10)])
    await door.run_due_timers(T0 + 3 * 3600 * S)
    assert [end for *_, end in await spans(door.connection)] == [0]
    await door.take([pm("box-0", T0 + 60 * S, 10)])
    ((_, begin, end),) = await spans(door.connection)
    assert end == begin


async def test_a_nightly_silence_of_a_box_that_died_long_ago_is_told_of_the_last_nights_alone(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    now = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    await door.take([pm("box-0", from_datetime(now - timedelta(days=400)), 10)])
    door.now = now
    condition = {"severity": "info", "condition": {"no_data": "PT15M"}}
    await add_rule(tenant, site_id, "night", condition | {"active": [{"from": "22:00", "to": "06:00"}]})
    for minutes in (0, 1, 2, 600, 1200):
        await door.run_due_timers(from_datetime(now + timedelta(minutes=minutes)))
    nights = [begin for _, begin, _ in await spans(door.connection)]
    hours = [(begin * S + T0) // (3600 * S) % 24 for begin in nights]
    # Last night, which was over by noon, and the one that has begun since.
    assert hours == [22, 22]
    assert nights[1] - nights[0] == 86_400
    due = await door.connection.fetchval("SELECT due_us FROM box_states WHERE due_us IS NOT NULL")
    assert due > from_datetime(now + timedelta(minutes=1200))


async def test_a_window_is_read_once_by_a_door_to_which_its_box_comes_again(
    door: Door, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_rule(tenant, site_id, "mean", {"severity": "info", "condition": MEAN})
    read: list[int] = []

    async def counted(connection: asyncpg.Connection, wanted: Mapping[int, Any]) -> Any:  # noqa: ANN401 (as it is)
        read.extend(wanted)
        return await read_past_values(connection, wanted)

    monkeypatch.setattr("app.ingest.pipeline.rule_context.read_past_values", counted)
    stream = [pm("box-0", T0 + n * S, 20 + n) for n in range(30)]
    for sent in stream[:10]:
        await door.take([sent], by_http=True)
    assert len(read) == 1
    # Somebody else has written samples of the box.
    await door.take([stream[10]])
    for sent in stream[11:]:
        await door.take([sent], by_http=True)
    # Once by the other door, and once more by this one.
    assert len(read) == 3
    assert await stored(door.connection) == await oracle(door.connection, stream) != []
