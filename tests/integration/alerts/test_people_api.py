"""What people do with alerts by REST, and what the timeline keeps of it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.alerts.watched import WatchedAlerts, add_box, at


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


@pytest.fixture
async def alert(watched: WatchedAlerts) -> dict[str, Any]:
    await watched.send((1, 30), (3, 30))
    return await watched.alert()


async def timeline(watched: WatchedAlerts, alert_id: str) -> list[dict[str, Any]]:
    answer = await watched.client.get(f"/v1/alerts/{alert_id}/timeline")
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def act(watched: WatchedAlerts, alert_id: str, what: str, body: object = None) -> dict[str, Any]:
    answer = await watched.client.post(f"/v1/alerts/{alert_id}/{what}", json=body)
    assert answer.status_code in {200, 201}, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_life_with_samples_and_people_is_told_in_order(
    watched: WatchedAlerts, alert: dict[str, Any]
) -> None:
    identifier = alert["id"]
    assert alert["cause"]["path"] == "levels/0/condition"
    assert (alert["function"], alert["suppressed"], alert["notified"]) == (None, None, True)
    taken = await act(watched, identifier, "acknowledge", {"comment": "On my way"})
    assert taken["acknowledged_at"]
    # The first one stands; what is said is kept.
    again = await act(watched, identifier, "acknowledge", {"comment": "Still going"})
    assert again["acknowledged_at"] == taken["acknowledged_at"]
    given = await act(watched, identifier, "assign", {"assignee": "Night shift"})
    assert given["assignee"] == "Night shift"
    await act(watched, identifier, "comments", {"comment": "A bus\nis idling"})
    back = await act(watched, identifier, "unacknowledge", {"comment": "Called away"})
    assert (back["acknowledged_at"], back["acknowledged_by"]) == (None, None)
    await act(watched, identifier, "assign", {"assignee": None, "comment": "Anybody?"})
    await watched.send((4, 5))
    entries = await timeline(watched, identifier)
    assert [(entry["kind"], entry["actor"], entry["comment"]) for entry in entries] == [
        ("fired", None, None),
        ("acknowledged", "tests", "On my way"),
        ("commented", "tests", "Still going"),
        ("assigned", "tests", None),
        ("commented", "tests", "A bus\nis idling"),
        ("unacknowledged", "tests", "Called away"),
        ("assigned", "tests", "Anybody?"),
        ("resolved", None, None),
    ]
    assert entries[3]["data"] == {"assignee": "Night shift", "previous": None}
    assert entries[6]["data"] == {"assignee": None, "previous": "Night shift"}
    by = taken["acknowledged_by"]
    assert [entries[1][name] for name in ("actor_kind", "actor_key", "actor")] == [
        by["kind"],
        by["id"],
        by["name"],
    ]
    fired, resolved = entries[0], entries[-1]
    assert (fired["at"], fired["value"], fired["severity"]) == (at(3), 30, "warning")
    assert fired["cause"] == fired["cause"] | {
        "time": at(3),
        "metric": "pm2_5",
        "value": 30,
        "threshold": 25,
        "clear": 20,
        "path": "levels/0/condition",
    }
    assert (resolved["at"], resolved["value"], resolved["data"]) == (at(4), 5, {"reason": "cleared"})


async def test_the_timeline_comes_in_pages(watched: WatchedAlerts, alert: dict[str, Any]) -> None:
    for number in range(4):
        await act(watched, alert["id"], "comments", {"comment": f"{number}"})
    seen: list[Any] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        params = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        path = f"/v1/alerts/{alert['id']}/timeline"
        page = (await watched.client.get(path, params=params)).raise_for_status().json()
        seen += page["data"]
        cursor = page["next"]
    assert seen == await timeline(watched, alert["id"])
    assert len(seen) == 5


async def test_what_was_acknowledged_and_given_back_is_due_anew(
    watched: WatchedAlerts, alert: dict[str, Any], connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "UPDATE alerts SET escalations = '[[600000000, \"critical\"]]', remind_us = 60000000, "
        "escalate_at = now() - interval '1 hour', remind_at = now() - interval '1 hour'"
    )
    await act(watched, alert["id"], "acknowledge")
    shown = await act(watched, alert["id"], "unacknowledge")
    assert shown["escalate_at"] > shown["remind_at"] > shown["updated_at"]
    # Nobody had: nothing changes.
    assert await act(watched, alert["id"], "unacknowledge") == shown


async def test_a_new_firing_is_not_acknowledged(watched: WatchedAlerts, alert: dict[str, Any]) -> None:
    await act(watched, alert["id"], "acknowledge")
    await watched.send((4, 5), (5, 30), (7, 30))
    new, old = await watched.alerts()
    assert (old["state"], old["acknowledged_at"] is None) == ("resolved", False)
    assert (new["state"], new["acknowledged_at"]) == ("firing", None)


async def test_what_has_resolved_can_be_assigned_and_commented_on(
    watched: WatchedAlerts, alert: dict[str, Any]
) -> None:
    await watched.send((4, 5))
    assert (await act(watched, alert["id"], "assign", {"assignee": "Lab"}))["assignee"] == "Lab"
    await act(watched, alert["id"], "comments", {"comment": "Was a bus"})
    answer = await watched.client.post(f"/v1/alerts/{alert['id']}/unacknowledge")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_resolved")


async def test_many_are_acknowledged_at_once(
    watched: WatchedAlerts, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    other = f"{watched.box}-2"
    await add_box(watched, other)
    await watched.send((1, 30), (3, 30), (4, 5), (5, 30), (7, 30))
    await watched.send((1, 30), (3, 30), box=other)
    second, first, resolved = await watched.alerts()
    assert resolved["state"] == "resolved"
    nowhere = str(new_id())
    await act(watched, first["id"], "acknowledge")
    ids = [first["id"], nowhere, second["id"], resolved["id"], second["id"]]
    answer = await watched.client.post("/v1/alerts/acknowledge", json={"ids": ids, "comment": "All one fire"})
    assert answer.json() == {
        "acknowledged": [second["id"]],
        "unchanged": [first["id"]],
        "refused": [
            {"id": nowhere, "code": "not_found"},
            {"id": resolved["id"], "code": "already_resolved"},
        ],
    }
    assert (await timeline(watched, second["id"]))[-1]["comment"] == "All one fire"
    kinds = await connection.fetch("SELECT type FROM outbox ORDER BY position")
    assert [kind for (kind,) in kinds].count("alert.acknowledged") == 2
    foreign = await other_tenant.client.post("/v1/alerts/acknowledge", json={"ids": [second["id"]]})
    assert foreign.json()["refused"] == [{"id": second["id"], "code": "not_found"}]
    many = await watched.client.post("/v1/alerts/acknowledge", json={"ids": [nowhere] * 201})
    assert many.status_code == 422


async def test_lists_are_narrowed_by_what_people_did(
    watched: WatchedAlerts, alert: dict[str, Any], connection: asyncpg.Connection
) -> None:
    async def count(**params: str) -> int:
        return len(await watched.alerts(**params))

    assert await count(acknowledged="false", suppressed="false", min_severity="warning") == 1
    assert await count(acknowledged="true") == await count(suppressed="true") == 0
    assert await count(min_severity="info") == 1
    assert await count(min_severity="critical") == await count(dry_run="true") == 0
    await act(watched, alert["id"], "acknowledge")
    await act(watched, alert["id"], "assign", {"assignee": "Lab"})
    assert await count(acknowledged="true", assignee="Lab") == 1
    assert await count(assignee="lab") == 0
    await connection.execute('UPDATE alerts SET suppressed = \'{"silences": [], "inhibited_by": []}\'')
    assert await count(suppressed="true") == 1
    await connection.execute("UPDATE alerts SET dry_run = true")
    assert await count() == 0
    assert await count(dry_run="true") == 1


@pytest.mark.parametrize(
    ("what", "body", "code"),
    [
        ("comments", {"comment": "  "}, "invalid_text"),
        ("comments", {"comment": "a\0"}, "nul_in_text"),
        ("comments", {"comment": "a\u202eb"}, "invalid_text"),
        ("comments", {"comment": "a" * 2001}, "text_too_long"),
        ("comments", {}, "missing_field"),
        ("assign", {}, "missing_field"),
        ("assign", {"assignee": ""}, "invalid_text"),
        ("assign", {"assignee": "a", "by": 1}, "unknown_field"),
        ("acknowledge", {"comment": 1}, "wrong_type"),
        ("acknowledge", [], "wrong_type"),
        ("unacknowledge", {"comment": "a\nb\0"}, "nul_in_text"),
    ],
)
async def test_what_people_cannot_say_is_refused(
    watched: WatchedAlerts, alert: dict[str, Any], what: str, body: object, code: str
) -> None:
    answer = await watched.client.post(f"/v1/alerts/{alert['id']}/{what}", json=body)
    assert (answer.status_code in {413, 422}, answer.json()["code"]) == (True, code), answer.text
    assert len(await timeline(watched, alert["id"])) == 1


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("timeline", None),
        ("acknowledge", {}),
        ("unacknowledge", {}),
        ("assign", {"assignee": "a"}),
        ("comments", {"comment": "a"}),
    ],
)
async def test_another_organisations_alerts_take_nothing(
    watched: WatchedAlerts,
    alert: dict[str, Any],
    other_tenant: Tenant,
    what: str,
    body: dict[str, str] | None,
) -> None:
    method = "GET" if body is None else "POST"
    answer = await other_tenant.client.request(method, f"/v1/alerts/{alert['id']}/{what}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await watched.alert() == alert
