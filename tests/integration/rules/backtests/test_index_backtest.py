"""A back-test of a rule on indices says what it said live."""

import random
from typing import Any

import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.rules.backtesting import ask, working
from tests.integration.rules.indexing import EAQI, add_box, add_rule, alerts, judging, send

SOON = 2.1 / 60
HOURS = 40
RANGE: dict[str, Any] = {"from": "2026-03-02T03:30:00Z", "to": "2026-03-03T15:10:00Z"}
RULES: dict[str, dict[str, Any]] = {
    "plain": {"severity": "warning", "condition": EAQI},
    "patient": {"severity": "info", "condition": EAQI | {"for": "PT1H", "keep_firing_for": "PT2H"}},
    "ladder": {
        "levels": [
            {"severity": "info", "condition": {"index": "eaqi", "band": "moderate"}},
            {
                "severity": "critical",
                "condition": {"index": "eaqi", "band": "very_poor", "clear_band": "fair"},
            },
        ]
    },
    "by night": {
        "severity": "info",
        "condition": EAQI,
        "active": [{"from": "22:00", "to": "07:30"}],
    },
    "together": {"severity": "critical", "condition": {"boxes": EAQI, "share": 60}},
    "day and hour": {
        "severity": "warning",
        "condition": {
            "any": [
                {"index": "who-24h", "metric": "pm2_5", "operator": ">", "threshold": 60},
                EAQI | {"clear": 2},
            ]
        },
    },
}


def shown(alert: dict[str, Any]) -> tuple[Any, ...]:
    # An alert has the numbers of the gravest level that it reached, one that is tried those of the first.
    numbers = ("threshold", "value") if alert["threshold"] is not None else ()
    return tuple(alert[name] for name in ("box", "started_at", "resolved_at", "pending_since", *numbers))


@pytest.mark.parametrize("seed", [1, 2])
async def test_alert_by_alert(tenant: Tenant, site_id: str, database: Database, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (levels of dust)
    for name in ("a", "b", "c"):
        await add_box(tenant, site_id, name)
        levels = chance.choices([1, 2, 3, 4, 5, 6, None], [3, 3, 3, 3, 3, 1, 2], k=HOURS)
        # Who is silent is waited for: not so at the end.
        await send(tenant, name, [*levels[:-2], 1, 1])
    async with judging(database) as judge:
        # As at the beginning of the range.
        rules = {}
        for name, body in RULES.items():
            made = await tenant.client.post("/v1/rules", json={"site_id": site_id, "name": name, **body})
            rules[name] = made.raise_for_status().json()["id"]
        await judge.look(3.5)
        for hour in range(4, HOURS):
            await judge.look(hour + SOON)
    async with working(database):
        for name, rule in rules.items():
            answer = await ask(tenant, rule_id=rule, **RANGE)
            assert answer["state"] == "done", answer
            live = [shown(alert) for alert in await alerts(tenant, rule, limit=100)]
            # What went on from before the range counts from its beginning on.
            tried = answer["result"]["alerts"]
            early = [alert for alert in tried if alert["started_at"] == RANGE["from"]]
            for alert in early:
                alert["started_at"] = "2026-03-02T03:00:00Z"
            assert sorted(map(shown, tried), key=str) == sorted(live, key=str), name
            assert live, name
            assert answer["result"]["summary"]["samples"] > 0


async def test_beside_a_rule_on_samples(tenant: Tenant, site_id: str, database: Database) -> None:
    await add_box(tenant, site_id, "a")
    await send(tenant, "a", [1, 1, 1, 1, 5, 1, 1])
    dust = {"metric": "pm2_5", "operator": ">", "threshold": 50}
    present = await add_rule(tenant, site_id, dust)
    body = {"severity": "warning", "condition": EAQI}
    async with working(database):
        answer = await ask(tenant, rule=body, site_id=site_id, compare_to=present, **RANGE)
        other = await ask(
            tenant, rule=body | {"condition": EAQI | {"threshold": 6}}, site_id=site_id, **RANGE
        )
        later: dict[str, Any] = {"from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z"}
        nothing = await ask(tenant, rule=body, site_id=site_id, **later)
    (alert,) = answer["result"]["alerts"]
    assert (alert["started_at"], alert["resolved_at"]) == ("2026-03-02T05:00:00Z", "2026-03-02T06:00:00Z")
    assert answer["result"]["against"]["summary"]["alerts"] == 1
    assert other["result"]["alerts"] == []
    assert nothing["result"]["summary"]["samples"] == 0


async def test_too_much_is_refused(
    tenant: Tenant, site_id: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.rules.backtests.backtest_run.INDEX_WORK_LIMIT", 10)
    await add_box(tenant, site_id, "a")
    await send(tenant, "a", [1] * 8)
    async with working(database):
        answer = await ask(tenant, rule={"severity": "info", "condition": EAQI}, site_id=site_id, **RANGE)
    assert (answer["state"], answer["error"]) == ("failed", "too_much_work")
