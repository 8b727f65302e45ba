"""Rules on indices: samples come in, an index is computed of their hours, an alert fires and resolves."""

from typing import Any

import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.rules.indexing import EAQI, add_box, add_rule, alerts, judging, send, spans

SOON = 2.1 / 60


async def test_an_index_fires_an_alert_and_resolves_it(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [2, 2])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        assert await judge.look(1 + SOON) == 0
        await send(tenant, box, [4, 5, 3, 1], 2)
        await judge.roll_up()
        assert await judge.look(3 + 1 / 60) == 0  # the hour from 2 on is over for a minute only
        assert await judge.look(3 + SOON) == 1
        assert await judge.look(3 + SOON) == 0
        (alert,) = await alerts(tenant, rule)
        assert alert["state"] == "firing"
        assert (alert["value"], alert["threshold"], alert["clear"]) == (4, 4, 3)
        assert (alert["metric"], alert["box"], alert["function"]) == (None, box, None)
        assert alert["started_at"] == alert["pending_since"] == "2026-03-02T03:00:00Z"
        cause = alert["cause"]["index"]
        assert cause.pop("title_fr") == "Indice européen de qualité de l'air (horaire)"
        assert cause == {
            "method": "eaqi",
            "version": 1,
            "title": "European Air Quality Index (hourly)",
            "metric": None,
            "period": {"start": "2026-03-02T02:00:00Z", "end": "2026-03-02T03:00:00Z"},
            "unit": "1",
            "coverage": 100,
            "band": {"key": "poor", "label": "Poor", "label_fr": "Mauvais"},
            "limit_band": None,
        }
        assert await judge.look(5 + SOON) == 1
    (alert,) = await alerts(tenant, rule)
    assert (alert["resolution"], alert["resolved_value"]) == ("cleared", 3)
    assert alert["resolved_at"] == "2026-03-02T05:00:00Z"


async def test_it_begins_with_the_newest_period_that_is_over(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [5, 1, 4, 4])
    rule = await add_rule(tenant, site_id)
    async with judging(database) as judge:
        await judge.look(3.5)
    assert await spans(tenant, rule) == [(box, 3, None)]


async def test_for_and_keep_firing_for_go_by_periods(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [1, 4, 1, 4, 4, 4, 2, 4, 2, 2, 2])
    waits = {"for": "PT2H", "keep_firing_for": "PT1H"}
    rule = await add_rule(tenant, site_id, EAQI | waits)
    in_a_row = await add_rule(tenant, site_id, EAQI | {"repeat": 3})
    async with judging(database) as judge:
        for hour in range(1, 13):
            await judge.look(hour + SOON)
    (alert,) = await alerts(tenant, rule)
    assert alert["pending_since"] == "2026-03-02T04:00:00Z"
    assert await spans(tenant, rule) == [(box, 6, 10)]
    assert await spans(tenant, in_a_row) == [(box, 6, 7)]


async def test_a_ladder_goes_up_and_down(tenant: Tenant, site_id: str, database: Database) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [4, 6, 5, 1, 1])
    levels = [
        {"severity": "warning", "condition": {"index": "eaqi", "band": "poor"}},
        {"severity": "critical", "condition": {"index": "eaqi", "band": "extremely_poor"}},
    ]
    rule = await add_rule(tenant, site_id, levels=levels)
    seen = []
    async with judging(database) as judge:
        for hour in range(1, 5):
            await judge.look(hour + SOON)
            (alert,) = await alerts(tenant, rule)
            seen.append((alert["severity"], alert["state"], alert["value"], alert["threshold"]))
    assert seen == [
        ("warning", "firing", 4, None),
        ("critical", "firing", 6, None),
        ("warning", "firing", 5, None),
        ("warning", "resolved", 5, None),
    ]
    assert alert["cause"]["index"]["limit_band"]["key"] == "poor"


async def test_what_is_not_known_fires_nothing_and_ends_nothing(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [4, None, 4, 2, 2])
    rule = await add_rule(tenant, site_id, EAQI)
    never = await add_rule(tenant, site_id, {"index": "atmo", "operator": ">", "threshold": 1})
    async with judging(database) as judge:
        for hour in range(1, 5):
            await judge.look(hour + SOON)
        await judge.look(30)
    assert await spans(tenant, rule) == [(box, 1, 4)]
    assert await alerts(tenant, never) == []


async def test_hours_hold_the_period_that_ends_with_them(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [5] * 8)
    # From 3 to 5 by UTC.
    rule = await add_rule(tenant, site_id, active=[{"from": "04:00", "to": "06:00"}])
    async with judging(database) as judge:
        await judge.look(1 + SOON)
        await judge.look(4 + SOON)
        await judge.look(5 + 1 / 60)
        (alert,) = await alerts(tenant, rule)
        assert (alert["state"], alert["started_at"]) == ("firing", "2026-03-02T04:00:00Z")
        await judge.look(5 + SOON)
    (alert,) = await alerts(tenant, rule)
    assert alert["resolution"] == "out_of_hours"
    assert await spans(tenant, rule) == [(box, 4, 5)]


async def test_boxes_of_a_site_are_counted_at_the_end_of_a_period(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    for name, levels in (("a", [4, 4, 1, 1]), ("b", [1, 4, 4, 1]), ("c", [1, 1, 1, 1])):
        await add_box(tenant, site_id, name)
        await send(tenant, name, levels)
    await add_box(tenant, site_id, "never-heard")
    rule = await add_rule(tenant, site_id, {"boxes": EAQI, "at_least": 2})
    named = await add_rule(
        tenant,
        site_id,
        {"all": [{"box": "a", **EAQI}, {"not": {"box": "b", "index": "eaqi", "band": "poor"}}]},
    )
    async with judging(database) as judge:
        for hour in range(1, 5):
            await judge.look(hour + SOON)
        await judge.look(6)
    (alert,) = await alerts(tenant, rule)
    assert (alert["box"], alert["cause"]["boxes"]) == (None, ["a", "b"])
    assert await spans(tenant, named) == [(None, 1, 2)]
    # From 2 to 3 one box is above, and of one it is not known: it could be the second.
    assert await spans(tenant, rule) == [(None, 2, 4)]


async def test_a_day_by_its_own_clock_and_a_metric_of_its_own(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [3] * 48, -1)
    condition: dict[str, Any] = {"index": "who-24h", "metric": "pm2_5", "operator": ">", "threshold": 15}
    rule = await add_rule(tenant, site_id, condition, description="Stay inside")
    async with judging(database) as judge:
        await judge.look(22.5)
        assert await alerts(tenant, rule) == []
        await judge.look(23 + SOON)
    (alert,) = await alerts(tenant, rule)
    assert alert["started_at"] == "2026-03-02T23:00:00Z"
    assert alert["value"] == pytest.approx(30)
    cause = alert["cause"]["index"]
    assert (cause["metric"], cause["unit"]) == ("pm2_5", "µg/m³")


async def test_on_trial_nothing_is_told(tenant: Tenant, site_id: str, database: Database) -> None:
    box = await add_box(tenant, site_id, "corner")
    await send(tenant, box, [5, 5])
    rule = await add_rule(tenant, site_id, dry_run=True)
    async with judging(database) as judge:
        assert await judge.look(1 + SOON) == 0
    (alert,) = await alerts(tenant, rule, dry_run=True)
    assert (alert["dry_run"], alert["notified"]) == (True, False)
