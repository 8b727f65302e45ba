"""Hours: settled once their roll-up is computed, and again when late data or an erasure changed them."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.measurement_stream.items import Item, StreamFilter
from app.platform.db.database import Database
from app.timeseries.erasure.worker import ErasureWorker
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import StreamReader
from tests.integration.timeseries.rollups.street import Maintainer, maintaining

HOURS = StreamFilter(kinds=frozenset({"hour"}))
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)


async def _send(tenant: Tenant, box: str, *samples: tuple[float, Mapping[str, float]]) -> None:
    body = [{"time": _after(minutes), "values": values} for minutes, values in samples]
    answer = await tenant.client.post("/v1/telemetry", json={"box": box, "samples": body})
    assert answer.raise_for_status().json()["stored"] == len(samples)


def _shown(item: Item) -> dict[str, Any]:
    assert item.detail is not None
    return dict(item.detail["metrics"])


@pytest.fixture
async def maintainer(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Maintainer]:
    async with maintaining(database, monkeypatch) as made:
        yield made


async def test_an_hour_comes_when_it_is_settled_and_again_when_it_changed(
    stream: StreamReader,
    tenant: Tenant,
    site_id: str,
    boxes: list[str],
    maintainer: Maintainer,
) -> None:
    await _send(tenant, boxes[0], *((number, {"pm2_5": number, "laeq": 60}) for number in range(30)))
    now = datetime.now(UTC)
    current = {"time": now.isoformat(), "values": {"pm2_5": 1}}
    await tenant.client.post("/v1/telemetry", json={"box": boxes[1], "samples": [current]})
    await _settle(maintainer, stream.owner)
    (hour,) = await stream.read(HOURS)
    assert (hour.kind, hour.box, hour.seq) == ("hour", boxes[0], None)
    assert hour.time_us == round(BEGIN.timestamp() * 1e6)
    assert hour.values == {"pm2_5": 14.5, "laeq": 60}
    answer = await tenant.client.get(
        f"/v1/boxes/{boxes[0]}/readings",
        params={
            "metric": "pm2_5",
            "from": BEGIN.isoformat(),
            "to": (BEGIN + timedelta(hours=1)).isoformat(),
            "bucket": "1h",
            "aggregates": "avg,min,max,count,coverage,p10,p50,p90",
        },
    )
    (point,) = answer.raise_for_status().json()["points"]
    shown = _shown(hour)["pm2_5"]
    assert {name: shown[name] for name in ("min", "max", "count", "coverage")} == {
        name: point[name] for name in ("min", "max", "count", "coverage")
    }
    assert {name: shown[name] for name in ("p10", "p50", "p90")} == {
        name: point[name] for name in ("p10", "p50", "p90")
    }
    # Nothing new: no second version.
    await _settle(maintainer, stream.owner)
    assert await stream.read(HOURS) == [hour]
    await _send(tenant, boxes[0], (30.5, {"pm2_5": 300}))
    await _settle(maintainer, stream.owner)
    first, second = await stream.read(HOURS)
    # Values are those of now, whichever version is read.
    assert first.values == second.values
    assert _shown(second)["pm2_5"]["count"] == 31
    assert first.detail is not None
    assert second.detail is not None
    assert second.detail["version"] > first.detail["version"]
    loud = await stream.read(StreamFilter(kinds=HOURS.kinds, metrics=("laeq",)))
    assert [item.values for item in loud] == [{"laeq": 60}] * 2
    (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/noise")).raise_for_status()
    assert [list(item.values) for item in await stream.read(HOURS)] == [["pm2_5"]] * 2


async def test_an_hour_comes_again_after_the_erasure_of_a_part(
    stream: StreamReader, tenant: Tenant, boxes: list[str], maintainer: Maintainer
) -> None:
    """An hour that no erasure cuts is not sent again by the same backfill."""
    for hour in range(2):
        await _send(tenant, boxes[0], *((60 * hour + number, {"pm2_5": number}) for number in range(30)))
    await _settle(maintainer, stream.owner)
    before = await stream.read(HOURS)
    assert [_shown(item)["pm2_5"]["count"] for item in before] == [30, 30]
    erased = {"from": _after(10), "until": _after(30), "reason": "Test"}
    answer = await tenant.client.post(f"/v1/boxes/{boxes[0]}/erasures", json=erased)
    answer.raise_for_status()
    while await ErasureWorker().run_once(maintainer.connection):
        pass
    # Its former item shows nothing until the rest is summarised.
    assert [item.id for item in await stream.read(HOURS)] == [before[1].id]
    # As a change of time zone does.
    await stream.owner.execute(
        "UPDATE rollup_states SET backfill_until = backfill_until + interval '1 hour' "
        "WHERE backfill_next IS NOT NULL"
    )
    while await stream.owner.fetchval("SELECT count(backfill_next) FROM rollup_states"):
        await maintainer.turn()
    first, second, again = await stream.read(HOURS)
    assert [first.id, second.id] == [item.id for item in before]
    assert (again.time_us, again.values) == (first.time_us, {"pm2_5": 4.5})
    assert _shown(again)["pm2_5"]["count"] == 10
    assert again.position > second.position


def _after(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat()


async def _settle(maintainer: Maintainer, owner: asyncpg.Connection) -> None:
    """Work until no hour that is over is marked."""
    waiting = "SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < now() - interval '61 minutes')"
    while await owner.fetchval(waiting):
        await maintainer.turn()
