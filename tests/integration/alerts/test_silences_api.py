"""`/v1/silences` and `/v1/inhibitions`."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from app.alerts import muting_service
from app.alerts.silence_and_escalation_timers import run_alert_timers
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant
from tests.integration.alerts.watched import WatchedAlerts, add_box

BOXES = {"boxes": ["pont-neuf-1"]}
SITE = {
    "name": "Quai de Tounis",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4402, 43.5958]},
}


def at(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


async def make(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    given = {"matchers": BOXES, "ends_at": at(hours=1), "comment": "works"} | body
    answer = await client.post("/v1/silences", json=given)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_silence_is_made_read_changed_and_ended(tenant: Tenant) -> None:
    made = await make(tenant.client)
    assert (made["state"], made["author"], made["schedule"]) == ("active", "tests", None)
    assert made["organisation_id"] == tenant.id
    assert made.pop("matching_alerts") == 0
    assert {name: value for name, value in made["matchers"].items() if value} == BOXES
    path = f"/v1/silences/{made['id']}"
    assert (await tenant.client.get(path)).json() == made
    change = {"ends_at": at(hours=3), "comment": "longer", "matchers": {"metrics": ["pm10"]}}
    changed = (await tenant.client.patch(path, json=change)).raise_for_status().json()
    assert (changed["comment"], changed["matchers"]["metrics"]) == ("longer", ["pm10"])
    assert changed["ends_at"] > made["ends_at"]
    ended = (await tenant.client.post(f"{path}/expire")).raise_for_status().json()
    assert ended["state"] == "expired"
    assert (await tenant.client.post(f"{path}/expire")).json() == ended
    answer = await tenant.client.patch(path, json={"comment": "again"})
    assert (answer.status_code, answer.json()["code"]) == (409, "silence_expired")
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404


async def test_silences_are_listed_by_state(tenant: Tenant, other_tenant: Tenant) -> None:
    active = await make(tenant.client, author="Équipe de nuit")
    pending = await make(tenant.client, starts_at=at(minutes=10))
    expired = await make(tenant.client)
    await tenant.client.post(f"/v1/silences/{expired['id']}/expire")
    await make(other_tenant.client)

    async def listed(**params: str) -> list[str]:
        answer = await tenant.client.get("/v1/silences", params=params)
        return [each["id"] for each in answer.raise_for_status().json()["data"]]

    assert await listed() == [active["id"], pending["id"], expired["id"]]
    assert (active["next_start"], pending["next_start"]) == (None, pending["starts_at"])
    assert await listed(state="active") == [active["id"]]
    assert await listed(state="pending") == [pending["id"]]
    assert await listed(state="expired") == [expired["id"]]
    page = (await tenant.client.get("/v1/silences", params={"limit": 2})).json()
    rest = (await tenant.client.get("/v1/silences", params={"cursor": page["next"]})).json()
    assert [each["id"] for each in page["data"] + rest["data"]] == await listed()


async def test_a_maintenance_window_is_in_the_time_zone_of_its_site(tenant: Tenant, site_id: str) -> None:
    span = {"from": "00:00", "to": "24:00"}
    made = await make(tenant.client, matchers={"site_ids": [site_id]}, ends_at=None, schedule=[span])
    assert (made["timezone"], made["state"], made["schedule"]) == (
        "Europe/Paris",
        "active",
        [span | {"days": None}],
    )
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(datetime.now(UTC).isoweekday() + 2) % 7]
    later = await make(
        tenant.client,
        ends_at=None,
        schedule=[{"days": [day], "from": "02:00", "to": "04:00"}],
        timezone="Asia/Tokyo",
    )
    assert (later["state"], later["timezone"]) == ("pending", "Asia/Tokyo")
    begins = datetime.fromisoformat(later["next_start"]).astimezone(ZoneInfo("Asia/Tokyo"))
    assert (begins.hour, begins.minute) == (2, 0)
    assert timedelta(0) < begins - datetime.now(UTC) < timedelta(days=7)
    # It ends before its first hours.
    never = await make(
        tenant.client,
        ends_at=at(minutes=5),
        schedule=[{"days": [day], "from": "02:00", "to": "04:00"}],
        timezone="Asia/Tokyo",
    )
    assert (never["state"], never["next_start"], made["next_start"]) == ("pending", None, None)
    assert await _named(tenant, site_id) == [made["id"]]
    assert await _named(tenant, str(new_id())) == []


async def _named(tenant: Tenant, site_id: str) -> list[str]:
    answer = await tenant.client.get("/v1/silences", params={"site": site_id})
    return [each["id"] for each in answer.raise_for_status().json()["data"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"matchers": {}}, 422, "empty_matchers"),
        ({"matchers": {"boxes": []}}, 422, "invalid_value"),
        ({"matchers": {"boxes": ["a+b"]}}, 422, "invalid_box_id"),
        ({"matchers": {"metrics": ["love"]}}, 422, "unknown_metric"),
        ({"matchers": {"severities": ["fatal"]}}, 422, "invalid_value"),
        ({"matchers": {"tags": ["a\0"]}}, 422, "invalid_tag"),
        ({"matchers": {"boxes": ["a"], "kinds": ["x"]}}, 422, "unknown_field"),
        ({"matchers": {"site_ids": ["0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"]}}, 404, "not_found"),
        ({"matchers": {"rule_ids": ["0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"]}}, 404, "not_found"),
        ({"ends_at": None}, 422, "end_required"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, 422, "invalid_end"),
        ({"starts_at": "2096-01-01T00:00:00Z"}, 422, "invalid_end"),
        ({"schedule": [{"from": "02:00", "to": "04:00"}]}, 422, "timezone_required"),
        ({"schedule": [{"from": "25:00", "to": "04:00"}]}, 422, "invalid_hours"),
        ({"timezone": "Europe/Paris"}, 422, "invalid_value"),
        ({"duration": "PT2H"}, 422, "ends_differently"),
        ({"ends_at": None, "duration": "PT2S"}, 422, "invalid_duration"),
        ({"ends_at": None, "until": {"time": "8:00"}}, 422, "invalid_value"),
        ({"ends_at": None, "until": {"time": "08:00"}}, 422, "timezone_required"),
        ({"alert_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"}, 422, "matchers_or_alert"),
        ({"matchers": None, "alert_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"}, 404, "not_found"),
        ({"comment": " "}, 422, "invalid_text"),
        ({"organisation_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"}, 422, "foreign_organisation"),
    ],
)
async def test_a_silence_that_makes_no_sense_is_refused(
    tenant: Tenant, body: dict[str, Any], status: int, code: str
) -> None:
    given = {"matchers": BOXES, "ends_at": at(hours=1), "comment": "works"} | body
    answer = await tenant.client.post("/v1/silences", json=given)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert "{" not in answer.json()["detail"]


async def test_a_change_is_held_to_the_same(tenant: Tenant) -> None:
    path = f"/v1/silences/{(await make(tenant.client))['id']}"
    for body, code in (
        ({"ends_at": "2020-01-01T00:00:00Z"}, "invalid_end"),
        ({"ends_at": None}, "wrong_type"),
        ({"matchers": {"rule_ids": [str(new_id())]}}, "not_found"),
        ({"starts_at": at(hours=1)}, "unknown_field"),
    ):
        answer = await tenant.client.patch(path, json=body)
        assert answer.json()["code"] == code, answer.text


async def test_a_silence_shows_what_it_mutes_and_ends_it(watched: WatchedAlerts, database: Database) -> None:
    await watched.send((1, 30), (3, 30))
    firing = await watched.alert()
    matchers = {"rule_ids": [watched.rule_id]}
    silence = await make(watched.client, matchers=matchers)
    other = await make(watched.client)
    later = await make(watched.client, matchers=matchers, starts_at=at(minutes=5))
    # A slip of the pen is seen at once.
    assert [each["matching_alerts"] for each in (silence, other, later)] == [1, 0, 1]

    async def mutes(which: dict[str, Any]) -> list[str]:
        answer = await watched.client.get(f"/v1/silences/{which['id']}/alerts")
        return [each["id"] for each in answer.raise_for_status().json()["data"]]

    assert await mutes(silence) == [firing["id"]]
    assert await mutes(other) == await mutes(later) == []
    connection = await database.connect()
    await run_alert_timers(connection)
    muted = await watched.alert()
    assert muted["suppressed"] == {"silences": [silence["id"]], "inhibited_by": []}
    assert muted["notified"] is True
    # Nothing but its end is told of what is muted.
    await watched.client.post(f"/v1/alerts/{firing['id']}/acknowledge")
    await watched.client.post(f"/v1/silences/{silence['id']}/expire")
    await run_alert_timers(connection)
    assert (await watched.alert())["suppressed"] is None
    assert await mutes(silence) == []
    types = await connection.fetch("SELECT type FROM outbox ORDER BY position")
    assert [kind for (kind,) in types] == ["alert.firing"]
    await connection.close()


async def test_an_inhibition_is_made_read_changed_and_deleted(tenant: Tenant, other_tenant: Tenant) -> None:
    body: dict[str, Any] = {
        "name": "Grave first",
        "source": {"severities": ["critical", "critical"]},
        "target": {"severities": ["info"], "metrics": ["pm10"]},
    }
    answer = await tenant.client.post("/v1/inhibitions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_field")
    assert "all targets of the organisation" in answer.json()["detail"]
    # On purpose, it may be empty.
    body["equal"] = []
    made = (await tenant.client.post("/v1/inhibitions", json=body)).raise_for_status().json()
    assert made["source"]["severities"] == ["critical"]
    assert made["equal"] == []
    path = f"/v1/inhibitions/{made['id']}"
    assert (await tenant.client.get(path)).json() == made
    change = {"equal": ["box", "site", "box"], "target": {"severities": ["warning"]}, "name": "Other"}
    changed = (await tenant.client.patch(path, json=change)).raise_for_status().json()
    assert (changed["equal"], changed["name"]) == (["box", "site"], "Other")
    assert (changed["target"]["severities"], changed["target"]["metrics"]) == (["warning"], None)
    assert (await tenant.client.get("/v1/inhibitions")).json()["data"] == [changed]
    assert (await other_tenant.client.get("/v1/inhibitions")).json()["data"] == []
    for refused, code in (
        ({"equal": ["rule"]}, "invalid_value"),
        ({"source": {}}, "empty_matchers"),
        ({"source": {"rule_ids": [str(new_id())]}}, "not_found"),
        ({"name": None}, "wrong_type"),
    ):
        assert (await tenant.client.patch(path, json=refused)).json()["code"] == code
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404


@pytest.mark.parametrize("room", ["silences", "inhibitions"])
async def test_another_organisations_silences_and_inhibitions_do_not_exist(
    tenant: Tenant, other_tenant: Tenant, room: str
) -> None:
    matchers = {"severities": ["info"]}
    bodies: dict[str, dict[str, Any]] = {
        "silences": {"matchers": matchers, "ends_at": at(hours=1), "comment": "works"},
        "inhibitions": {
            "name": "i",
            "source": matchers,
            "target": {"severities": ["critical"]},
            "equal": ["box"],
        },
    }
    made = (await tenant.client.post(f"/v1/{room}", json=bodies[room])).raise_for_status().json()
    made.pop("matching_alerts", None)
    path = f"/v1/{room}/{made['id']}"
    calls: list[tuple[str, str, Any]] = [("GET", path, None), ("PATCH", path, {}), ("DELETE", path, None)]
    if room == "silences":
        calls += [("POST", f"{path}/expire", None), ("GET", f"{path}/alerts", None)]
    for method, where, body in calls:
        answer = await other_tenant.client.request(method, where, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, where)
    assert (await tenant.client.get(path)).json() == made


@pytest.mark.parametrize("kind", ["site_ids", "rule_ids", "boxes"])
async def test_an_administrator_means_the_organisation_of_what_is_named(
    api: httpx.AsyncClient, tenant: Tenant, watched: WatchedAlerts, kind: str
) -> None:
    named = {"site_ids": watched.site_id, "rule_ids": watched.rule_id, "boxes": watched.box}[kind]
    made = await make(api, matchers={kind: [named], "severities": ["info"]})
    assert made["organisation_id"] == tenant.id
    body = {"name": "i", "source": {"severities": ["critical"]}, "target": {kind: [named]}, "equal": ["box"]}
    inhibition = (await api.post("/v1/inhibitions", json=body)).raise_for_status().json()
    assert inhibition["organisation_id"] == tenant.id


async def test_an_administrator_who_names_nobodys_things_has_to_say_whose_are_meant(
    api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, watched: WatchedAlerts
) -> None:
    elsewhere = await other_tenant.client.post("/v1/sites", json=SITE)
    both = [watched.site_id, elsewhere.raise_for_status().json()["id"]]
    rest = {"ends_at": at(hours=1), "comment": "works"}
    for matchers in ({"severities": ["info"]}, BOXES, {"site_ids": [str(new_id())]}, {"site_ids": both}):
        answer = await api.post("/v1/silences", json={"matchers": matchers} | rest)
        assert (answer.status_code, answer.json()["code"]) == (422, "organisation_required"), answer.text
        assert "organisation_id" in answer.json()["detail"]
    body = {"name": "i", "source": BOXES, "target": {"severities": ["info"]}, "equal": ["box"]}
    answer = await api.post("/v1/inhibitions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "organisation_required")
    made = await make(api, matchers={"severities": ["info"]}, organisation_id=tenant.id)
    assert made["organisation_id"] == tenant.id
    answer = await api.post(
        "/v1/silences", json={"matchers": {"site_ids": both}} | rest | {"organisation_id": tenant.id}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_organisation_has_so_many_silences_and_no_more(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muting_service, "MAX_SILENCES", 2)
    first = await make(tenant.client)
    await make(tenant.client, starts_at=at(minutes=5))
    body = {"matchers": BOXES, "ends_at": at(hours=1), "comment": "works"}
    answer = await tenant.client.post("/v1/silences", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_silences")
    assert "expire" in answer.json()["detail"]
    await make(other_tenant.client)
    # What has expired does not count.
    await tenant.client.post(f"/v1/silences/{first['id']}/expire")
    answers = await asyncio.gather(*(tenant.client.post("/v1/silences", json=body) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [201, 422, 422, 422]


async def test_an_organisation_has_so_many_inhibitions_and_no_more(
    tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muting_service, "MAX_INHIBITIONS", 1)
    body = {"name": "i", "source": BOXES, "target": {"severities": ["info"]}, "equal": ["box"]}
    (await tenant.client.post("/v1/inhibitions", json=body)).raise_for_status()
    answer = await tenant.client.post("/v1/inhibitions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_inhibitions")
    (await other_tenant.client.post("/v1/inhibitions", json=body)).raise_for_status()


async def test_a_silence_may_be_of_one_alert_and_for_a_duration(watched: WatchedAlerts) -> None:
    await add_box(watched, "silences-2")
    await watched.rule(name="Other rule")
    await watched.send((1, 30), (3, 30))
    await watched.send((1, 30), (3, 30), box="silences-2")
    mine = next(
        alert for alert in await watched.alerts(box=watched.box) if alert["rule_id"] == watched.rule_id
    )
    body = {"alert_id": mine["id"], "duration": "PT2H", "comment": "Crew is on the way"}
    answer = await watched.client.post("/v1/silences", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    lists = {name: given for name, given in made["matchers"].items() if given is not None}
    assert lists == {"rule_ids": [watched.rule_id], "boxes": [watched.box]}
    assert made["matching_alerts"] == 1
    assert _parsed(made["ends_at"]) - _parsed(made["starts_at"]) == timedelta(hours=2)
    muted = (await watched.client.get(f"/v1/silences/{made['id']}/alerts")).json()["data"]
    assert [alert["id"] for alert in muted] == [mine["id"]]


async def test_another_tenants_alert_cannot_be_silenced(watched: WatchedAlerts, other_tenant: Tenant) -> None:
    await watched.send((1, 30), (3, 30))
    body = {"alert_id": (await watched.alert())["id"], "duration": "PT2H", "comment": "x"}
    answer = await other_tenant.client.post("/v1/silences", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_until_tomorrow_is_by_the_clocks_of_the_site(watched: WatchedAlerts) -> None:
    paris = ZoneInfo("Europe/Paris")
    tomorrow = datetime.now(paris).date() + timedelta(days=1)
    eight = datetime.combine(tomorrow, time(8), paris)
    for matchers in (
        {"site_ids": [watched.site_id]},
        {"boxes": [watched.box]},
        {"rule_ids": [watched.rule_id]},
    ):
        until = {"days": 1, "time": "08:00"}
        made = await make(watched.client, matchers=matchers, ends_at=None, until=until)
        assert _parsed(made["ends_at"]) == eight
    elsewhere = await make(watched.client, ends_at=None, until=until, timezone="Asia/Tokyo")
    assert _parsed(elsewhere["ends_at"]).astimezone(ZoneInfo("Asia/Tokyo")).time() == time(8)


async def test_the_end_may_be_changed_to_a_duration_or_a_local_time(watched: WatchedAlerts) -> None:
    made = await make(watched.client, matchers={"boxes": [watched.box]})
    path = f"/v1/silences/{made['id']}"
    longer = (await watched.client.patch(path, json={"duration": "P1D"})).json()
    away = _parsed(longer["ends_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < away <= timedelta(days=1)
    later = (await watched.client.patch(path, json={"until": {"days": 2, "time": "07:30"}})).json()
    assert _parsed(later["ends_at"]).astimezone(ZoneInfo("Europe/Paris")).time() == time(7, 30)
    both = await watched.client.patch(path, json={"duration": "P1D", "until": {"time": "07:30"}})
    assert both.json()["code"] == "ends_differently"


async def test_all_that_is_missing_is_named_at_once(tenant: Tenant) -> None:
    answer = await tenant.client.post("/v1/silences", json={"author": ""})
    assert answer.status_code == 422
    problem = answer.json()
    assert {error["field"] for error in problem["errors"]} == {
        "body.author",
        "body.comment",
        "body.matchers",
        "body.ends_at",
    }
    assert all(error["field"] in problem["detail"] for error in problem["errors"])


async def test_an_inhibition_names_all_that_is_missing_at_once(tenant: Tenant) -> None:
    problem = (await tenant.client.post("/v1/inhibitions", json={})).json()
    assert sorted(error["field"] for error in problem["errors"]) == [
        "body.equal",
        "body.name",
        "body.source",
        "body.target",
    ]


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)
