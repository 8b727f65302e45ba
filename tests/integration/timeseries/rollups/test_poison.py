"""One box that is heavy, or whose values cannot be summarised, holds up nobody else's roll-ups."""

import math
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.timeseries.rollups import adaptive_slices, backfill
from app.timeseries.rollups.rollup_writer import BoxSpans
from tests.conftest import STREET, Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, register

HOUR = datetime(2026, 3, 28, 12, tzinfo=UTC)
# The smallest number of four bytes: a quantile between nought and this one has no place among them.
SMALLEST = 1.4e-45


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> None:
    await register(tenant.client, site_id, ["a", "b", "c"])


async def summarised(connection: asyncpg.Connection, table: str = "hourly") -> list[str]:
    rows = await connection.fetch(
        f"SELECT DISTINCT b.id FROM {table} h JOIN boxes b ON b.key = h.box_key ORDER BY b.id"  # noqa: S608
    )
    return [row["id"] for row in rows]


@pytest.mark.usefixtures("boxes")
async def test_quantiles_that_no_float_of_four_bytes_holds_are_nought(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    sent = [
        {"time": (HOUR + timedelta(minutes=place)).isoformat(), "values": {"pm2_5": value}}
        for place, value in enumerate((0.0, SMALLEST))
    ]
    await door.take(("a", sent))
    await maintainer.finish()
    for table in ("hourly", "daily"):
        assert await summarised(connection, table) == ["a"]
    (row,) = await connection.fetch("SELECT p10, p95, max FROM daily")
    assert row["p10"] == 0
    assert row["max"] == 1e-45


@pytest.mark.usefixtures("boxes")
async def test_a_box_whose_hours_cannot_be_summarised_is_left_aside_and_others_are_not(
    connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    # A database that was repaired by hand may hold what no door takes: of this no energy can be computed.
    door = Door(connection)
    for box in ("a", "b", "c"):
        values = {"laeq": 50.0}
        await door.take((box, [{"time": HOUR.isoformat(), "values": values}]))
    await connection.execute("UPDATE samples SET laeq = 1e30 FROM boxes WHERE key = box_key AND id = 'b'")
    errors = 0
    for _ in range(6):
        try:
            await maintainer.turn()
        except asyncpg.NumericValueOutOfRangeError:
            errors += 1
    assert await summarised(connection) == ["a", "c"]
    assert await summarised(connection, "daily") == ["a", "c"]
    # With two others, with one, alone; then it is left alone.
    assert errors == 3
    assert await connection.fetchval("SELECT count(*) FROM rollup_marks") == 1


def test_portions_are_as_large_as_they_are_quick_and_aside_is_not_for_ever() -> None:
    now = 0.0

    def clock() -> float:
        return now

    aside = adaptive_slices.BoxBackoff(clock)
    portion = adaptive_slices.SliceSizer(100, clock)
    for _ in range(4):
        with portion.slice([1] * portion.size, aside):
            now += 0.1
    assert portion.size == 100
    with portion.slice([1] * 100, aside):
        now += 5.0
    assert portion.size == 10
    with pytest.raises(TimeoutError), portion.slice([1, 2], aside):
        raise TimeoutError
    assert (portion.size, aside.keys) == (1, [])
    with pytest.raises(asyncpg.DeadlockDetectedError), portion.slice([1], aside):
        raise asyncpg.DeadlockDetectedError
    assert aside.keys == []
    with pytest.raises(TimeoutError), portion.slice([2], aside):
        raise TimeoutError
    for hours in (1, 2, 4, 8, 16, 24, 24):
        now += hours * 3_600 - 1
        assert aside.keys == [2]
        now += 1
        assert aside.keys == []
        with pytest.raises(TimeoutError), portion.slice([2], aside):
            raise TimeoutError


@pytest.mark.usefixtures("boxes")
async def test_the_past_of_a_box_is_gone_through_where_it_has_samples(
    tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer, site_id: str
) -> None:
    door = Door(connection)
    for measured in ("2000-01-02T00:00:00Z", HOUR.isoformat()):
        await door.take(("a", [{"time": measured, "values": {"pm2_5": 1.0}}]))
    await maintainer.finish()
    (await tenant.client.patch(f"/v1/sites/{site_id}", json={"timezone": "Asia/Tokyo"})).raise_for_status()
    # Not one for each week of 26 years.
    assert [len(slice_) for slice_ in await slices(maintainer)] == [25, 1]


async def slices(maintainer: Maintainer) -> list[BoxSpans]:
    """All that is summarised of the past, in order."""
    await backfill.sync_time_zones(maintainer.connection)
    found: list[BoxSpans] = []

    async def summarise(_: asyncpg.Connection, hours: BoxSpans) -> None:
        found.append(hours)

    aside = adaptive_slices.BoxBackoff(time.monotonic)
    await backfill.RollupBackfill(aside, time.monotonic).run(maintainer.connection, math.inf, summarise)
    return found


async def test_organisations_take_turns_at_their_past(
    tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    door = Door(connection)
    owners = {"a": tenant, "b": tenant, "z": other_tenant}
    sites = {}
    for of in (tenant, other_tenant):
        made = (await of.client.post("/v1/sites", json=STREET)).raise_for_status().json()
        sites[of.id] = made["id"]
        await register(of.client, made["id"], [box for box, owner in owners.items() if owner is of])
    for box in owners:
        times = [f"2025-0{month}-01T12:00:00Z" for month in (1, 3, 5)]
        await door.take((box, [{"time": moment, "values": {"pm2_5": 1.0}} for moment in times]))
    await maintainer.finish()
    for of in (tenant, other_tenant):
        zone = {"timezone": "Asia/Tokyo"}
        (await of.client.patch(f"/v1/sites/{sites[of.id]}", json=zone)).raise_for_status()
    rows = await connection.fetch("SELECT key, id FROM boxes")
    names = {row["key"]: row["id"] for row in rows}
    order = "".join(names[hours.keys[0]] for hours in await slices(maintainer))
    assert order.replace("b", "a") in {"azazazaaa", "zazazaaaa"}
    assert order.replace("z", "") == "aaabbb"
