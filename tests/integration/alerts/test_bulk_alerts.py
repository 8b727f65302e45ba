"""One operation on several alerts, each with its own result, and escalations by people."""

from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from app.platform.kernel.ids import new_id
from tests.conftest import Tenant, client_of
from tests.integration.alerts.watched import WatchedAlerts, add_box


@pytest.fixture
async def firing(watched: WatchedAlerts) -> list[str]:
    """The ids of alerts of one rule on three boxes, the oldest first."""
    for box in ("second", "third"):
        await add_box(watched, box)
    for box in (watched.box, "second", "third"):
        await watched.send((1, 30), (3, 30), box=box)
    return [alert["id"] for alert in reversed(await watched.alerts())]


async def change(watched: WatchedAlerts, ids: list[str], **operation: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    answer = await watched.client.post("/v1/alerts/bulk", json={"ids": ids, "operation": operation})
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def events(connection: asyncpg.Connection, type_: str) -> list[asyncpg.Record]:
    query = (
        "SELECT payload ->> 'alert_id' AS alert, payload ->> 'reason' AS reason FROM outbox WHERE type = $1"
    )
    return list(await connection.fetch(f"{query} ORDER BY position", type_))


async def kinds(watched: WatchedAlerts, alert: str) -> list[tuple[str, str | None]]:
    entries = (await watched.client.get(f"/v1/alerts/{alert}/timeline")).raise_for_status().json()["data"]
    return [(entry["kind"], entry["comment"]) for entry in entries]


async def test_each_alert_has_its_own_result(
    watched: WatchedAlerts, firing: list[str], connection: asyncpg.Connection
) -> None:
    first, second, third = firing
    await watched.send((4, 5), box="third")
    (await watched.client.post(f"/v1/alerts/{first}/acknowledge")).raise_for_status()
    nobodys = str(new_id())
    changed = await change(
        watched, [third, first, second, nobodys, second], type="acknowledge", comment="All of them"
    )
    assert [(each["id"], each["result"], each["code"]) for each in changed["results"]] == [
        (third, "error", "already_resolved"),
        (first, "unchanged", None),
        (second, "changed", None),
        (nobodys, "error", "not_found"),
    ]
    counted = {name: changed[name] for name in ("operation", "selected", "changed", "unchanged", "failed")}
    assert counted == {
        "operation": "acknowledge",
        "selected": 4,
        "changed": 1,
        "unchanged": 1,
        "failed": 2,
    }
    assert nobodys in changed["results"][3]["detail"]
    assert [str(row["alert"]) for row in await events(connection, "alert.acknowledged")] == [first, second]
    assert (await kinds(watched, first))[1:] == [("acknowledged", None), ("commented", "All of them")]
    assert (await kinds(watched, second))[1:] == [("acknowledged", "All of them")]


async def test_alerts_are_assigned_commented_and_given_back_together(
    watched: WatchedAlerts, firing: list[str]
) -> None:
    assert (await change(watched, firing, type="assign", assignee="Équipe de nuit"))["changed"] == 3
    again = await change(watched, firing[:2], type="assign", assignee="Équipe de nuit", comment="Still")
    assert [each["result"] for each in again["results"]] == ["unchanged", "unchanged"]
    await change(watched, firing, type="acknowledge")
    assert (await change(watched, firing, type="unacknowledge"))["changed"] == 3
    assert (await change(watched, firing, type="unacknowledge"))["unchanged"] == 3
    assert (await change(watched, firing, type="comment", comment="Rain"))["changed"] == 3
    for alert in await watched.alerts():
        assert (alert["assignee"], alert["acknowledged_at"]) == ("Équipe de nuit", None)
        assert (await kinds(watched, alert["id"]))[-1] == ("commented", "Rain")


async def test_a_silence_is_made_once_for_a_rule_and_a_box(watched: WatchedAlerts, firing: list[str]) -> None:
    await watched.send((4, 5), (6, 30), (9, 30))
    newer = (await watched.alerts(box=watched.box))[0]["id"]
    ids = [firing[0], newer, firing[1]]
    changed = await change(watched, ids, type="silence", duration="PT2H", comment="Roadworks")
    silences = [each["silence_id"] for each in changed["results"]]
    assert silences[0] == silences[1] != silences[2]
    found = (await watched.client.get("/v1/silences")).json()["data"]
    assert {each["id"] for each in found} == set(silences)
    assert [each["matchers"] for each in found if each["id"] == silences[0]] == [
        {
            **dict.fromkeys(("site_ids", "metrics", "severities", "tags")),
            "boxes": [watched.box],
            "rule_ids": [watched.rule_id],
        }
    ]
    assert {each["comment"] for each in found} == {"Roadworks"}
    for ends, code in (
        ({}, "end_required"),
        ({"duration": "PT1H", "until": {"time": "08:00"}}, "ends_differently"),
    ):
        body = {"ids": ids, "operation": {"type": "silence", "comment": "x", **ends}}
        refused = await watched.client.post("/v1/alerts/bulk", json=body)
        assert refused.status_code == 422
        assert code in refused.text
    late = await change(watched, ids, type="silence", ends_at="2020-01-01T00:00:00Z", comment="x")
    assert {each["code"] for each in late["results"]} == {"invalid_end"}


async def test_a_person_escalates_and_samples_do_not_lower_it(
    watched: WatchedAlerts, firing: list[str], connection: asyncpg.Connection
) -> None:
    first, second, third = firing
    (await watched.client.post(f"/v1/alerts/{first}/acknowledge")).raise_for_status()
    body = {"severity": "critical", "comment": "A school"}
    shown = (await watched.client.post(f"/v1/alerts/{first}/escalate", json=body)).json()
    assert (shown["severity"], shown["highest_severity"]) == ("critical", "critical")
    assert shown["escalated_at"]
    assert shown["acknowledged_at"]
    await watched.send((4, 35))
    (still,) = await watched.alerts(box=watched.box)
    assert still["severity"] == "critical"
    changed = await change(watched, [first, second], type="escalate", severity="critical")
    assert [(each["result"], each["code"]) for each in changed["results"]] == [
        ("error", "severity_not_higher"),
        ("changed", None),
    ]
    raised = [(str(row["alert"]), row["reason"]) for row in await events(connection, "alert.escalated")]
    assert raised == [(first, "person"), (second, "person")]
    entries = (await watched.client.get(f"/v1/alerts/{first}/timeline")).json()["data"]
    assert entries[-1]["kind"] == "escalated"
    assert entries[-1]["data"] == {"reason": "person", "previous_severity": "warning"}
    assert (entries[-1]["actor"], entries[-1]["comment"]) == ("tests", "A school")
    await watched.send((5, 5), box="third")
    late = await watched.client.post(f"/v1/alerts/{third}/escalate", json={"severity": "critical"})
    assert (late.status_code, late.json()["code"]) == (409, "already_resolved")


async def test_a_muted_alert_escalates_without_an_event(
    watched: WatchedAlerts, firing: list[str], connection: asyncpg.Connection
) -> None:
    await connection.execute("""UPDATE alerts SET suppressed = '{"silences": [], "inhibited_by": []}'""")
    await change(watched, firing[:1], type="escalate", severity="critical")
    assert await events(connection, "alert.escalated") == []
    stored = await connection.fetchrow("SELECT * FROM alerts WHERE id = $1", firing[0])
    assert stored is not None
    # What the timers compare when nothing mutes it any more.
    assert (stored["severity"], stored["told_severity"]) == ("critical", "warning")


async def test_a_retry_with_its_key_changes_nothing_twice(watched: WatchedAlerts, firing: list[str]) -> None:
    body = {"ids": firing, "operation": {"type": "comment", "comment": "Once"}}
    headers = {"Idempotency-Key": "bulk-1"}
    first, again = [await watched.client.post("/v1/alerts/bulk", json=body, headers=headers) for _ in "12"]
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (await kinds(watched, firing[0])).count(("commented", "Once")) == 1


async def test_a_key_for_some_sites_changes_their_alerts_but_silences_none(
    application: FastAPI, tenant: Tenant, watched: WatchedAlerts, firing: list[str]
) -> None:
    body = {"name": "site", "scopes": ["*"], "site_ids": [watched.site_id]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, key) as client:
        operation: dict[str, Any] = {"type": "comment", "comment": "Here"}
        fine = await client.post("/v1/alerts/bulk", json={"ids": firing, "operation": operation})
        operation = {"type": "silence", "duration": "PT1H", "comment": "Here"}
        refused = await client.post("/v1/alerts/bulk", json={"ids": firing, "operation": operation})
    assert fine.json()["changed"] == 3
    assert (refused.status_code, refused.json()["code"]) == (403, "limited_to_sites")


async def test_at_most_a_hundred_alerts(watched: WatchedAlerts) -> None:
    ids = [str(new_id()) for _ in range(101)]
    body: dict[str, Any] = {"ids": ids, "operation": {"type": "acknowledge"}}
    assert (await watched.client.post("/v1/alerts/bulk", json=body)).status_code == 422
    body["ids"] = ids[:100]
    answer = (await watched.client.post("/v1/alerts/bulk", json=body)).json()
    assert answer["failed"] == 100
