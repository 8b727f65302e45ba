"""Each method in a rule: what an alert says is what the API says of the same box and period."""

from datetime import datetime
from typing import Any

import pytest

from app.platform.db.database import Database
from app.rules.definitions.index_conditions import INDEX_NAMES
from tests.conftest import Tenant
from tests.integration.environmental_indices.town import Record, ask, measure
from tests.integration.rules.indexing import START, add_rule, alerts, judging

# Of the newest periods that are over then the clocks have gone forward in one.
AT = "2026-03-30T05:10:00Z"
SEASONED: dict[str, dict[str, Any]] = {
    "thermal-comfort": {"season": "cooling", "period": "day"},
    "light": {"use": "drawing"},
    "mould-index": {"material": "sensitive"},
    "odour-hours": {"odour": 1.5, "area": "village"},
    "odour-episodes": {"odour": 1.5},
    "lden-day": {"country": "DE"},
    "leq": {"period": "week"},
}
# Four weeks give no year a value.
YEARS = {"who-year", "who-o3-peak-season", "who-days-over", "lden-year"}
RECORD = Record.of(
    "2026-03-01T22:00",
    "2026-03-30T05:40",
    1_800,
    7,
    pm2_5=(4, 30),
    pm10=(10, 60),
    no2=(5, 80),
    so2=(2, 30),
    co=(0.1, 2),
    o3=(30, 130),
    laeq=(45, 75),
    odour=(0, 3),
    co2=(500, 1_600),
    temperature=(18, 27),
    humidity=(35, 95),
    illuminance=(100, 900),
    hcho=(5, 90),
    benzene=(1, 4),
)


async def test_an_alert_says_what_the_api_says(tenant: Tenant, site_id: str, database: Database) -> None:
    await measure(tenant, site_id, "all", RECORD)
    rules: dict[tuple[str, str | None], str] = {}
    shown: dict[tuple[str, str | None], dict[str, Any]] = {}
    for name in INDEX_NAMES:
        choices = SEASONED.get(name, {})
        answer = await ask(tenant.client, site_id, method=name, at=AT, **choices)
        for each in answer["data"]:
            key = name, each["metric"]
            shown[key] = each
            metric = {} if each["metric"] is None else {"metric": each["metric"]}
            condition = {"index": name, "operator": ">=", "threshold": -1e6, **metric, **choices}
            rules[key] = await add_rule(tenant, site_id, condition, name=f"{name} {each['metric']}")
    async with judging(database) as judge:
        await judge.look((datetime.fromisoformat(AT) - START).total_seconds() / 3600)
    assert {name for name, _ in shown} == set(INDEX_NAMES)
    for key, said in shown.items():
        found = await alerts(tenant, rules[key])
        if said["value"] is None:
            assert key[0] in YEARS, key
            assert found == [], key
            continue
        (alert,) = found
        index = alert["cause"]["index"]
        assert alert["value"] == pytest.approx(said["value"], rel=1e-4), key
        assert index["period"] == said["period"], key
        assert (index["unit"], index["coverage"]) == (said["unit"], said["coverage"]), key
        band = None if said["band"] is None else said["band"]["key"]
        assert (index["band"] or {}).get("key") == band, key
        assert alert["started_at"] == said["period"]["end"], key
