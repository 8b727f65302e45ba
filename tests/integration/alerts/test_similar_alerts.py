"""Earlier alerts that are similar, with their ends, comments and statistics."""

from typing import Any

import asyncpg
import pytest

from tests.conftest import STREET, Tenant
from tests.integration.alerts.watched import CONDITION, WatchedAlerts, add_box


@pytest.fixture
async def history(watched: WatchedAlerts) -> dict[str, str]:
    """Alerts of several degrees of similarity, and the alert that they are similar to."""
    await add_box(watched, "other")
    coarse = CONDITION | {"threshold": 80, "clear": 70}
    await watched.rule(name="More dust", condition=coarse)
    await watched.rule(name="Noise", condition={"metric": "laeq", "operator": ">", "threshold": 10})
    await watched.send((1, 30), (3, 30), (5, 5), box="other")
    await watched.send((6, 30), (8, 30), (14, 5))
    await watched.send((15, 90), (17, 90), (19, 5))
    await watched.send((30, 30), (32, 30))
    found: dict[str, str] = {}
    for alert in reversed(await watched.alerts()):
        name = {"Dust": "box" if alert["box"] == watched.box else "rule", "More dust": "metric"}
        kind = name[alert["rule_name"]]
        found[f"{kind}{sum(each.startswith(kind) for each in found)}"] = alert["id"]
    assert list(found) == ["rule0", "box0", "box1", "metric0", "box2"]
    return found


async def similar(watched: WatchedAlerts, alert: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 (as in a query)
    answer = await watched.client.get(f"/v1/alerts/{alert}/similar", params=params)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def test_the_closest_come_first_then_the_newest(
    watched: WatchedAlerts, history: dict[str, str]
) -> None:
    page = await similar(watched, history["box2"])
    assert [(each["id"], each["similarity"]) for each in page["data"]] == [
        (history["box1"], "same_box"),
        (history["box0"], "same_box"),
        (history["rule0"], "same_rule"),
        (history["metric0"], "same_metric"),
    ]
    by_time = await similar(watched, history["box2"], sort="-id")
    newest_first = sorted((each["id"] for each in page["data"]), reverse=True)
    assert [each["id"] for each in by_time["data"]] == newest_first
    # Only earlier ones.
    assert [each["id"] for each in (await similar(watched, history["box0"]))["data"]] == [history["rule0"]]


async def test_pages_follow_each_other_and_the_first_has_the_summary(
    watched: WatchedAlerts, history: dict[str, str]
) -> None:
    whole = await similar(watched, history["box2"])
    seen: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await similar(watched, history["box2"], limit=1, **({"cursor": cursor} if cursor else {}))
        assert (page["summary"] is not None) == (not seen)
        seen += page["data"]
        cursor = page["next"]
    assert [each["id"] for each in seen] == [each["id"] for each in whole["data"]]
    wrong = await watched.client.get(f"/v1/alerts/{history['box2']}/similar", params={"cursor": "nonsense"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")


async def test_each_says_how_long_it_lasted_who_saw_to_it_and_what_was_said(
    watched: WatchedAlerts, history: dict[str, str]
) -> None:
    await watched.send((33, 5))
    await watched.send((40, 30), (42, 30))
    (now, before, *_) = await watched.alerts(box=watched.box)
    assert before["id"] == history["box2"]
    for what in ("Looks like a bus", "It was a bus"):
        body = {"comment": what}
        answer = await watched.client.post(f"/v1/alerts/{before['id']}/comments", json=body)
        assert answer.status_code == 201
    (first, second, *_) = (await similar(watched, now["id"]))["data"]
    assert (first["id"], first["duration_s"], first["resolution"]) == (before["id"], 60.0, "cleared")
    assert (first["last_comment"]["text"], first["last_comment"]["actor"]) == ("It was a bus", "tests")
    assert (second["last_comment"], second["acknowledged_by"]) == (None, None)
    assert first.keys() - now.keys() == {"similarity", "duration_s", "last_comment"}


async def test_the_summary_counts_by_degree(
    watched: WatchedAlerts, history: dict[str, str], connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "UPDATE alerts SET acknowledged_at = now(), started_at = started_at - interval '40 days'"
        " WHERE id = $1",
        history["box0"],
    )
    await connection.execute(
        "INSERT INTO alert_timeline (id, alert_id, organisation_id, kind, at, recorded_at)"
        " SELECT gen_random_uuid(), id, organisation_id, 'unsuppressed', now(), now() FROM alerts"
        " WHERE id = $1",
        history["box1"],
    )
    summary = (await similar(watched, history["box2"]))["summary"]
    assert [each["similarity"] for each in summary] == ["same_box", "same_rule", "same_metric"]
    forty_days_s = 40 * 86400.0
    assert summary[0] == {
        "similarity": "same_box",
        "total_30_days": 1,
        "total_90_days": 2,
        # The middle of two minutes, and of forty days and six minutes.
        "median_duration_s": (120 + forty_days_s + 360) / 2,
        "acknowledged": 1,
        "unacknowledged": 1,
        "muted": 1,
        "cleared": 2,
    }
    assert (summary[1]["total_90_days"], summary[2]["total_90_days"]) == (1, 1)
    await connection.execute(
        "UPDATE alerts SET started_at = started_at - interval '91 days' WHERE id = $1", history["metric0"]
    )
    empty = (await similar(watched, history["box2"]))["summary"][2]
    assert (empty["total_90_days"], empty["median_duration_s"]) == (0, None)


async def test_alerts_of_a_whole_site_and_other_sites(tenant: Tenant, watched: WatchedAlerts) -> None:
    whole = {"boxes": {"metric": "pm2_5", "operator": ">", "threshold": 25}, "share": 50}
    rule = await watched.rule(name="Everywhere", condition=whole)
    second = (await tenant.client.post("/v1/sites", json=STREET)).json()["id"]
    elsewhere = WatchedAlerts(tenant, second, "elsewhere")
    await add_box(elsewhere, "elsewhere")
    await elsewhere.rule()
    await elsewhere.send((1, 30), (4, 30))
    await watched.send((1, 30), (2, 5), (3, 30))
    newest, oldest = await watched.alerts(rule=rule)
    assert newest["box"] is None
    (only,) = (await similar(watched, newest["id"]))["data"]
    assert (only["id"], only["similarity"]) == (oldest["id"], "same_box")


async def test_another_tenants_alert_is_not_there(history: dict[str, str], other_tenant: Tenant) -> None:
    answer = await other_tenant.client.get(f"/v1/alerts/{history['box2']}/similar")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
