"""The alerts that the kill drill expects are those that Vigie fires."""

import json
import time
from typing import Any

from app.platform.db.database import Database
from tests.conftest import Tenant
from tools.clusters.box_load import BoxLedger, BoxMove
from tools.clusters.drill_city import build_rules
from tools.clusters.drill_results import ALERTS, make_fired_alert
from tools.clusters.expected_alerts import RULES, STOP_RULE, AlertComparison, HumidTime

SAMPLES = 700
STEP_MS = 40
BEGIN_MS = round(time.time() * 1000) - 50_000
PLACE: dict[str, Any] = {"kind": "street", "timezone": "Europe/Paris"}
POINT = {"type": "Point", "coordinates": [1.4453, 43.6045]}


async def make_site(tenant: Tenant, name: str) -> str:
    answer = await tenant.client.post("/v1/sites", json={**PLACE, "location": POINT, "name": name})
    return str(answer.raise_for_status().json()["id"])


def make_samples(ledger: BoxLedger) -> list[dict[str, Any]]:
    """Make samples on a clock of their own: humid in the middle, and silent once if the box stops."""
    made = []
    for seq in range(SAMPLES):
        sample = json.loads(ledger.make_sample(humid=250 <= seq < 450))
        late = 16_000 if ledger.stops and seq > 500 else 0
        sample["time"] = ledger.times_ms[seq] = BEGIN_MS + seq * STEP_MS + ledger.index + late
        made.append(sample)
    return made


async def test_what_the_drill_expects_is_what_fires(tenant: Tenant, database: Database) -> None:
    sites = [await make_site(tenant, name) for name in ("One", "Two")]
    ledgers = [BoxLedger(f"drill-{number}", number, sites[0], stops=number == 2) for number in range(4)]
    ledgers.append(BoxLedger("drill-mobile", 4, sites[0], is_mobile=True))
    stopping_elsewhere = BoxLedger("drill-other", 5, sites[1], stops=True)
    boxes = [{"id": each.box, "site_id": each.site} for each in [*ledgers, stopping_elsewhere]]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    for rule in build_rules(sites, [*ledgers, stopping_elsewhere]):
        answer = await tenant.client.post("/v1/rules", json=rule)
        assert answer.status_code == 201, answer.text
    samples = {ledger.box: make_samples(ledger) for ledger in ledgers}
    for number in range(SAMPLES // 50):
        if number == 7:
            moving = ledgers[-1]
            body = {"site_id": sites[1]}
            (await tenant.client.patch(f"/v1/boxes/{moving.box}", json=body)).raise_for_status()
            moving.moves.append(BoxMove(sites[0], sites[1], number * 50, number * 50))
        for ledger in ledgers:
            chunk = samples[ledger.box][number * 50 : number * 50 + 50]
            answer = await tenant.client.post("/v1/telemetry", json={"box": ledger.box, "samples": chunk})
            assert answer.json()["stored"] == 50, answer.text
    comparison = AlertComparison(ledgers, sites[:1])
    comparison.humid.append(HumidTime(BEGIN_MS + 250 * STEP_MS, BEGIN_MS + 450 * STEP_MS))
    connection = await database.connect()
    fired = [make_fired_alert(row) for row in await connection.fetch(ALERTS)]
    await connection.close()
    verdict = comparison.compare(fired)
    assert (verdict.unfired, verdict.spurious) == ([], [])
    rules = {each.rule for each in verdict.due}
    assert rules == RULES.keys() - {"A box is silent", "Mean temperature"}
    assert sum(each.rule == STOP_RULE for each in verdict.due) == 1
    assert {each.site for each in verdict.fired if each.box == "drill-mobile"} == set(sites)
