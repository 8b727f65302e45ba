"""`/v1/alerts`: what samples cause, as it is read, acknowledged and closed by REST."""

import asyncio
import json
from typing import Any

import pytest

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.alerts.watched import CONDITION, WatchedAlerts, add_box, at

INSTANT = CONDITION | {"for": "PT0S"}
GRAVE = INSTANT | {"threshold": 50, "clear": 40}


async def outbox(database: Database) -> list[tuple[str, dict[str, Any]]]:
    connection = await database.connect()
    try:
        rows = await connection.fetch("SELECT type, payload::text FROM outbox ORDER BY position")
        return [(kind, json.loads(payload)) for kind, payload in rows]
    finally:
        await connection.close()


async def test_samples_make_an_alert_that_fires_and_resolves(watched: WatchedAlerts, tenant: Tenant) -> None:
    await watched.send((0, 10), (1, 30), (2, 31), (3, 32.5))
    firing = await watched.alert()
    assert firing == firing | {
        "organisation_id": tenant.id,
        "rule_id": watched.rule_id,
        "rule_name": "Dust",
        "rule_version": 1,
        "site_id": watched.site_id,
        "box": watched.box,
        "metric": "pm2_5",
        "severity": "warning",
        "state": "firing",
        "value": 32.5,
        "threshold": 25,
        "clear": 20,
        "pending_since": at(1),
        "started_at": at(3),
        "resolved_at": None,
        "resolved_value": None,
        "resolution": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "sequence": 1,
        "site_name": "Rue d'Alsace-Lorraine",
        "box_name": None,
        "unit": "µg/m³",
        "current_value": 32.5,
        "current_time": at(3),
        "sentence": "PM2.5 at Rue d'Alsace-Lorraine is 32.5 µg/m³, above 25 for 2 minutes",
        "sentence_fr": "Rue d'Alsace-Lorraine\xa0: PM2,5 à 32,5\xa0µg/m³, au-dessus de 25 depuis 2 minutes",
        "link": f"http://127.0.0.1:8000/console/alerts/{firing['id']}",
    }
    await watched.send((4, 29.5))
    now = await watched.alert()
    assert (now["value"], now["current_value"], now["current_time"]) == (32.5, 29.5, at(4))
    await watched.send((5, 20))
    resolved = await watched.alert()
    assert resolved == firing | {
        "state": "resolved",
        "resolved_at": at(5),
        "resolved_value": 20,
        "resolution": "cleared",
        "sequence": 2,
        "current_value": None,
        "current_time": None,
        "sentence": "PM2.5 at Rue d'Alsace-Lorraine is back to 20 µg/m³ after 2 minutes",
        "sentence_fr": "Rue d'Alsace-Lorraine\xa0: PM2,5 de retour à 20\xa0µg/m³ après 2 minutes",
        "updated_at": resolved["updated_at"],
    }
    assert (await watched.client.get(f"/v1/alerts/{firing['id']}")).json() == resolved


async def test_repeats_and_late_samples_make_no_alert(watched: WatchedAlerts) -> None:
    await watched.send((10, 10))
    await watched.send((1, 30), (3, 30), (10, 30))
    assert await watched.alerts() == []
    await watched.send((11, 30), (13, 30))
    await watched.send((11, 30), (13, 30), (12, 5))
    assert (await watched.alert())["state"] == "firing"


async def test_the_first_acknowledgement_stands(watched: WatchedAlerts, database: Database) -> None:
    await watched.send((1, 30), (3, 30))
    alert = await watched.alert()
    path = f"/v1/alerts/{alert['id']}/acknowledge"
    first = await watched.client.post(path)
    assert first.status_code == 200
    taken = first.json()
    assert taken["acknowledged_at"].endswith("Z")
    assert taken["acknowledged_by"] | {"id": "-"} == {"kind": "key", "id": "-", "name": "tests"}
    assert (taken["state"], taken["sequence"]) == ("firing", 2)
    again = await asyncio.gather(*(watched.client.post(path) for _ in range(3)))
    assert [(answer.status_code, answer.json()) for answer in again] == [(200, taken)] * 3
    await watched.send((4, 5))
    # It was acknowledged before it resolved: that can be said again, too.
    late = await watched.client.post(path)
    assert (late.status_code, late.json()["acknowledged_at"]) == (200, taken["acknowledged_at"])
    assert [(kind, told["sequence"], told["state"]) for kind, told in await outbox(database)] == [
        ("alert.firing", 1, "firing"),
        ("alert.acknowledged", 2, "firing"),
        ("alert.resolved", 3, "resolved"),
    ]
    (_, told) = (await outbox(database))[1]
    assert told["acknowledged_at"] == taken["acknowledged_at"]
    # The same wherever it is told, and to the end.
    assert told["acknowledged_by"] == taken["acknowledged_by"]
    assert (await outbox(database))[2][1]["acknowledged_by"] == taken["acknowledged_by"]
    assert (await outbox(database))[0][1]["acknowledged_by"] is None


async def test_what_resolved_by_itself_needs_no_acknowledgement(
    watched: WatchedAlerts, database: Database
) -> None:
    await watched.send((1, 30), (3, 30), (4, 5))
    alert = await watched.alert()
    answer = await watched.client.post(f"/v1/alerts/{alert['id']}/acknowledge")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_resolved")
    assert await watched.alert() == alert
    assert len(await outbox(database)) == 2


@pytest.mark.parametrize(
    ("change", "resolution"),
    [
        ({"condition": CONDITION | {"threshold": 26}}, "rule_changed"),
        ({"enabled": False}, "rule_disabled"),
        ({"enabled": False, "condition": CONDITION | {"threshold": 26}}, "rule_disabled"),
        (None, "rule_deleted"),
    ],
)
async def test_another_condition_or_the_end_of_a_rule_closes_what_it_fired(
    watched: WatchedAlerts, database: Database, change: dict[str, Any] | None, resolution: str
) -> None:
    await watched.send((1, 30), (3, 30))
    path = f"/v1/rules/{watched.rule_id}"
    answer = await (
        watched.client.delete(path) if change is None else watched.client.patch(path, json=change)
    )
    assert answer.status_code in {200, 204}
    alert = await watched.alert()
    assert (alert["state"], alert["resolution"], alert["sequence"]) == ("resolved", resolution, 2)
    assert alert["resolved_value"] is None
    # What it fired under is still told, not what holds now.
    assert (alert["threshold"], alert["rule_version"]) == (25, 1)
    kind, told = (await outbox(database))[-1]
    assert (kind, told["resolution"], told["threshold"]) == ("alert.resolved", resolution, 25)


async def test_a_changed_condition_begins_at_rest(watched: WatchedAlerts) -> None:
    await watched.send((1, 30))
    path = f"/v1/rules/{watched.rule_id}"
    await watched.client.patch(path, json={"condition": CONDITION | {"threshold": 24}})
    await watched.send((3, 30))
    assert await watched.alerts() == []
    await watched.send((5, 30))
    alert = await watched.alert()
    assert (alert["pending_since"], alert["rule_version"]) == (at(3), 2)


async def test_a_new_name_leaves_alerts_and_waits_alone(watched: WatchedAlerts) -> None:
    other = f"{watched.box}-2"
    await add_box(watched, other)
    await watched.send((1, 30), (3, 30))
    await watched.send((2, 30), box=other)
    path = f"/v1/rules/{watched.rule_id}"
    await watched.client.patch(path, json={"name": "Fine dust", "severity": "critical"})
    await watched.send((4, 30), box=other)
    later, earlier = await watched.alerts()
    assert (earlier["state"], earlier["severity"], earlier["rule_name"]) == ("firing", "warning", "Fine dust")
    assert (later["pending_since"], later["severity"], later["rule_version"]) == (at(2), "critical", 2)
    await watched.send((5, 10))
    assert [alert["state"] for alert in await watched.alerts()] == ["firing", "resolved"]


async def test_a_disabled_rule_is_not_watched_and_begins_anew(watched: WatchedAlerts) -> None:
    path = f"/v1/rules/{watched.rule_id}"
    await watched.client.patch(path, json={"enabled": False})
    await watched.send((1, 30), (3, 30))
    await watched.client.patch(path, json={"enabled": True})
    await watched.send((4, 30))
    assert await watched.alerts() == []
    await watched.send((6, 30))
    assert (await watched.alert())["pending_since"] == at(4)


async def test_the_end_of_a_box_closes_its_alerts(watched: WatchedAlerts) -> None:
    await watched.send((1, 30), (3, 30))
    assert (await watched.client.delete(f"/v1/boxes/{watched.box}")).status_code == 204
    alert = await watched.alert()
    assert (alert["state"], alert["resolution"], alert["box"]) == ("resolved", "box_deleted", watched.box)


async def test_lists_are_narrowed_and_come_newest_first_in_pages(watched: WatchedAlerts) -> None:
    other = f"{watched.box}-2"
    await add_box(watched, other)
    critical = await watched.rule(severity="critical", condition=CONDITION | {"threshold": 50})
    await watched.send((1, 30), (3, 30), (4, 5))
    await watched.send((11, 30), (13, 30), (14, 5))
    await watched.send((21, 30), (23, 30))
    await watched.send((31, 60), (33, 60), box=other)
    everything = await watched.alerts()
    assert len(everything) == 5
    assert [alert["id"] for alert in everything] == sorted(
        (alert["id"] for alert in everything), reverse=True
    )

    async def count(**params: Any) -> int:  # noqa: ANN401 (as in a query)
        return len(await watched.alerts(**params))

    assert await count(state="firing") == 3
    assert await count(state="resolved", site=watched.site_id) == 2
    assert await count(site=str(new_id())) == 0
    assert await count(box=other) == 2
    assert await count(rule=critical, severity="critical") == 1
    assert await count(rule=critical, severity="warning") == 0
    assert await count(metric="pm2_5") == 5
    assert await count(metric="no2") == 0
    tagged = await watched.client.patch(f"/v1/boxes/{other}", json={"tags": ["quay", "lot"]})
    assert tagged.status_code == 200, tagged.text
    assert await count(tag="lot") == 2
    assert await count(tag="lot", box=watched.box) == await count(tag="school") == 0
    # `from` is included, `to` is not.
    assert await count(**{"from": at(13), "to": at(33)}) == 2
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        params = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = (await watched.client.get("/v1/alerts", params=params)).json()
        seen += page["data"]
        cursor = page["next"]
    assert seen == everything


async def test_what_was_graver_once_is_found(watched: WatchedAlerts) -> None:
    ladder = [{"severity": "warning", "condition": INSTANT}, {"severity": "critical", "condition": GRAVE}]
    made = await watched.client.post(
        "/v1/rules", json={"site_id": watched.site_id, "name": "Ladder", "levels": ladder}
    )
    rule = made.raise_for_status().json()["id"]
    await watched.send((1, 30), (2, 60), (3, 30), (4, 5))
    (alert,) = await watched.alerts(rule=rule)
    assert (alert["severity"], alert["highest_severity"], alert["state"]) == (
        "warning",
        "critical",
        "resolved",
    )
    assert await watched.alerts(rule=rule, min_severity="critical") == []
    assert await watched.alerts(rule=rule, min_highest_severity="critical") == [alert]
    mild = await watched.alerts(rule=watched.rule_id)
    assert await watched.alerts(min_highest_severity="critical") == [alert]
    assert await watched.alerts(min_highest_severity="warning") == sorted(
        [alert, *mild], key=lambda each: str(each["id"]), reverse=True
    )


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"state": "open"}, "invalid_value"),
        ({"severity": "fatal"}, "invalid_value"),
        ({"min_highest_severity": "fatal"}, "invalid_value"),
        ({"metric": "love"}, "unknown_metric"),
        ({"tag": "a b"}, "invalid_tag"),
        ({"box": "a+b"}, "invalid_box_id"),
        ({"from": "yesterday"}, "invalid_time"),
        ({"from": "2026-01-01T00:00:00"}, "time_without_zone"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "range_reversed"),
        ({"cursor": "forged"}, "invalid_cursor"),
        ({"limit": "-1"}, "invalid_value"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    tenant: Tenant, params: dict[str, str], code: str
) -> None:
    answer = await tenant.client.get("/v1/alerts", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


async def test_another_organisations_alerts_do_not_exist(
    watched: WatchedAlerts, other_tenant: Tenant
) -> None:
    await watched.send((1, 30), (3, 30))
    alert = await watched.alert()
    stranger = other_tenant.client
    assert (await stranger.get("/v1/alerts")).json()["data"] == []
    assert (await stranger.get("/v1/alerts", params={"box": watched.box})).json()["data"] == []
    for answer in (
        await stranger.get(f"/v1/alerts/{alert['id']}"),
        await stranger.post(f"/v1/alerts/{alert['id']}/acknowledge"),
        await watched.client.get("/v1/alerts/none"),
        await watched.client.post(f"/v1/alerts/{new_id()}/acknowledge"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await watched.alert() == alert
