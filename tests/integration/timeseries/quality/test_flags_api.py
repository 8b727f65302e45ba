"""Flags of readings over REST, on a real database."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from app.platform.db.database import Database
from app.platform.db.driver_query import DriverQuery
from app.platform.kernel.application_resources import get_resource
from app.timeseries.quality import annotated_readings, samples_with_neighbours
from app.timeseries.series import bucket_request
from tests.conftest import Tenant
from tests.integration.timeseries.quality.conftest import Ask, at
from tests.integration.timeseries.rollups.street import noise

Send = Callable[[Iterable[tuple[float, dict[str, float]]]], Awaitable[None]]

SPIKES, DUST_STORM, FLAT, OFF = (50, 333), 200, range(400, 641), range(700, 725)
"""Minutes of a day with something of each flag."""


def day() -> dict[int, dict[str, float]]:
    """Dust that wanders around 20 µg/m³, minute by minute."""
    chance = random.Random(7)  # noqa: S311 (an example)
    values = {minute: round(20 + chance.uniform(-2, 2), 1) for minute in range(1440) if minute not in OFF}
    values |= dict.fromkeys(SPIKES, 90.0) | dict.fromkeys(FLAT, 19.3)
    values |= {minute: 1500.0 + minute for minute in range(DUST_STORM, DUST_STORM + 12)}
    return {minute: {"pm2_5": value} for minute, value in values.items()}


@pytest.fixture
async def dust(send: Send) -> dict[int, float]:
    """The day as it came: half an hour in the evening after what followed it."""
    sent = day()
    last = [minute for minute in sent if 1300 <= minute < 1330]
    await send((minute, values) for minute, values in sent.items() if minute not in last)
    await send((minute, sent[minute]) for minute in last)
    return {minute: values["pm2_5"] for minute, values in sent.items()}


def by_flag(points: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for point in points:
        for flag in point["flags"]:
            found.setdefault(flag, set()).add(point["time"])
    return found


def minutes(numbers: Iterable[int]) -> set[str]:
    return {at(number) for number in numbers}


async def test_raw_values_say_what_is_odd_about_them(dust: dict[int, float], ask: Ask) -> None:
    plain = await ask("pm2_5")
    whole = await ask("pm2_5", flags=True)
    assert whole["flags_version"] == 1
    assert [(each["time"], each["value"]) for each in whole["points"]] == [
        (each["time"], each["value"]) for each in plain["points"]
    ]
    assert plain["points"][0].keys() == {"time", "value"}
    assert len(whole["points"]) == len(dust)
    assert by_flag(whole["points"]) == {
        "out_of_range": minutes(range(DUST_STORM, DUST_STORM + 12)),
        "spike": minutes(SPIKES),
        "flat_line": minutes(FLAT),
        # The first two minutes, and those after the gap of 26.
        "warm_up": minutes([0, 1, 725, 726]),
        "late": minutes(range(1300, 1330)),
    }


async def test_flags_are_the_same_however_a_range_is_cut(
    dust: dict[int, float], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {each["time"]: each["flags"] for each in (await ask("pm2_5", flags=True))["points"]}
    assert len(known) == len(dust)
    for limit, piece in ((131, samples_with_neighbours.SAMPLES_PER_READ), (700, 400), (1440, 97)):
        monkeypatch.setattr(samples_with_neighbours, "SAMPLES_PER_READ", piece)
        seen: dict[str, list[str]] = {}
        params: dict[str, Any] = {"limit": limit}
        while params.get("cursor", "") is not None:
            page = await ask("pm2_5", flags=True, **params)
            seen |= {each["time"]: each["flags"] for each in page["points"]}
            params["cursor"] = page["next"]
        assert seen == known, (limit, piece)
    for first, last in ((401, 402), (640, 726), (199, 205)):
        part = await ask("pm2_5", flags=True, from_=at(first), to=at(last))
        assert part["points"]
        assert all(each["flags"] == known[each["time"]] for each in part["points"])
    assert (await ask("pm2_5", flags=True, from_=at(705), to=at(706)))["points"] == []


async def test_what_comes_later_is_heeded(send: Send, ask: Ask) -> None:
    # Once a quarter of an hour: what happened between is not known, and comes two days late.
    await send(
        (minute, {"pm2_5": 90.0 if minute == 105 else 20.0 + minute / 100}) for minute in range(0, 211, 15)
    )
    before = by_flag((await ask("pm2_5", flags=True))["points"])
    assert before["spike"] == {at(105)}
    await send((minute, {"pm2_5": 88.0 + minute / 100}) for minute in range(99, 112) if minute != 105)
    after = by_flag((await ask("pm2_5", flags=True))["points"])
    assert "spike" not in after
    assert after["late"] == minutes(set(range(99, 112)) - {105})


AGGREGATES = "avg,min,max,count,coverage,p10,p50,p90,p95"


async def test_buckets_are_made_of_what_is_left(dust: dict[int, float], ask: Ask) -> None:
    found = await ask("pm2_5", bucket="1h", exclude="spike,out_of_range,warm_up", aggregates=AGGREGATES)
    assert found["exclude"] == ["out_of_range", "spike", "warm_up"]
    gone = {*SPIKES, *range(DUST_STORM, DUST_STORM + 12), 0, 1, 725, 726}
    expected = []
    for hour in range(24):
        own = range(60 * hour, 60 * hour + 60)
        values = np.array([dust[minute] for minute in own if minute in dust and minute not in gone])
        expected.append(
            {
                "time": at(60 * hour),
                "avg": pytest.approx(values.mean(), rel=1e-6),
                "min": values.min(),
                "max": values.max(),
                "count": len(values),
                "coverage": round(100 * len(values) / 60, 2),
                **{f"p{q}": pytest.approx(np.percentile(values, q), rel=1e-6) for q in (10, 50, 90, 95)},
            }
        )
    assert found["points"] == expected
    assert {each["coverage"] for each in found["points"]} > {100.0, 80.0}
    # All of an hour may be gone.
    found = await ask("pm2_5", bucket="1h", exclude="flat_line", fill="null")
    assert [each["count"] for each in found["points"][6:11]] == [40, 0, 0, 0, 19]
    assert found["points"][8]["avg"] is None


async def test_where_nothing_is_left_out_it_is_as_ever(
    send: Send, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [sample["values"]["laeq"] for sample in noise()][:2800]
    await send(
        (minute + (minute % 7) / 10, {"laeq": level, "pressure": 1000 + level})
        for minute, level in enumerate(levels)
    )
    monkeypatch.setattr(samples_with_neighbours, "SAMPLES_PER_READ", 1_000)
    for metric, bucket, names in (
        ("laeq", "7m", f"{AGGREGATES},l10,l50,l90"),
        ("laeq", "1d", AGGREGATES),
        ("pressure", "1h", AGGREGATES),
    ):
        query = {"bucket": bucket, "aggregates": names, "fill": "linear", "from_": at(3), "to": at(2790)}
        plain = await ask(metric, **query)
        treated = await ask(metric, **query, exclude="late")
        assert treated.pop("exclude") == ["late"]
        assert treated.pop("flags_version") == 1
        for ours, theirs in zip(treated.pop("points"), plain.pop("points"), strict=True):
            # Sums of another order differ in digits that a double has and nobody needs.
            assert ours == {
                name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
                for name, value in theirs.items()
            }
        assert treated == plain
    pages: list[Any] = []
    params: dict[str, Any] = {"limit": 100}
    while params.get("cursor", "") is not None:
        page = await ask("laeq", bucket="7m", exclude="spike", **params)
        pages += page["points"]
        params["cursor"] = page["next"]
    assert pages == (await ask("laeq", bucket="7m", exclude="spike"))["points"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"flags": "true", "bucket": "1h"}, "bucket_given"),
        ({"exclude": "spike"}, "bucket_missing"),
        ({"exclude": "spike,odd", "bucket": "1h"}, "unknown_flag"),
        ({"exclude": "", "bucket": "1h"}, "unknown_flag"),
        ({"flags": "perhaps"}, "wrong_type"),
        # Of an hour that is summarised already a year is nothing; of samples it is too much.
        ({"exclude": "spike", "bucket": "4w", "from": "2010-01-01T00:00:00Z"}, "range_too_large"),
        ({"corrected": "true", "bucket": "4w", "from": "2010-01-01T00:00:00Z"}, "range_too_large"),
    ],
)
async def test_a_faulty_query_is_refused(tenant: Tenant, box: str, params: dict[str, str], code: str) -> None:
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params={"metric": "pm2_5", **params})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if code == "range_too_large":
        assert answer.json()["maximum_samples"] == bucket_request.MAX_SAMPLES


async def excluding(tenant: Tenant, box: str, flag: str, until: int = 500) -> tuple[int, int | None]:
    """The status of buckets without what has a flag, and how many samples at most they say may be."""
    query = {"metric": "pm2_5", "from": at(0), "to": at(until), "bucket": "1h", "exclude": flag}
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params=query)
    return answer.status_code, answer.json().get("maximum_samples")


async def test_a_box_that_samples_more_often_than_it_says_is_held_to_the_bound(
    tenant: Tenant, box: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenant.client.patch(f"/v1/boxes/{box}", json={"interval_s": 3600})
    await send((minute, {"pm2_5": 20.0}) for minute in range(500))
    monkeypatch.setattr(samples_with_neighbours, "SAMPLES_PER_READ", 100)
    monkeypatch.setattr(annotated_readings, "MAX_SAMPLES", 400)
    assert await excluding(tenant, box, "late") == (422, 400)
    assert await excluding(tenant, box, "late", until=399) == (200, None)


async def test_what_lies_around_a_sample_is_held_to_a_bound(
    tenant: Tenant, box: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten of its intervals, by which a spike is told, are all that it ever sent.
    await tenant.client.patch(f"/v1/boxes/{box}", json={"interval_s": 604_800})
    await send((minute, {"pm2_5": 20.0}) for minute in range(500))
    monkeypatch.setattr(samples_with_neighbours, "SAMPLES_PER_READ", 100)
    monkeypatch.setattr(samples_with_neighbours, "MAX_SAMPLES_IN_MEMORY", 450)
    assert await excluding(tenant, box, "spike") == (422, 450)
    await tenant.client.patch(f"/v1/boxes/{box}", json={"interval_s": 60})
    assert await excluding(tenant, box, "spike") == (200, None)


async def test_who_asks_for_nothing_pays_for_nothing(
    application: FastAPI, send: Send, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send([(0, {"pm2_5": 1.0})])
    asked_of: Counter[str] = Counter()
    engine = get_resource(application, Database).engine.sync_engine

    def keep(_: object, __: object, statement: str, *___: object) -> None:
        asked_of[next((table for table in ("samples", "corrections") if table in statement), "else")] += 1

    by_driver = DriverQuery.fetch

    async def fetch(query: DriverQuery, *arguments: Any, **values: Any) -> list[Any]:  # noqa: ANN401 (its own)
        keep(None, None, query._sql)
        return await by_driver(query, *arguments, **values)

    monkeypatch.setattr(DriverQuery, "fetch", fetch)
    event.listen(engine, "before_cursor_execute", keep)
    try:
        await ask("pm2_5")
        plain = asked_of.copy()
        asked_of.clear()
        await ask("pm2_5", corrected=True)
    finally:
        event.remove(engine, "before_cursor_execute", keep)
    assert (plain["samples"], plain["corrections"]) == (1, 0)
    assert asked_of - plain == {"corrections": 1}
