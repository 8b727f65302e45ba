"""What is really sent, of alerts that really fired, is what the catalogue and the formats say."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from app.notifications.delivery import endpoint_state_repository
from app.notifications.delivery.endpoint_health import HealthAction
from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.event_schemas import EVENT_SCHEMAS
from app.notifications.events.event_types import EVENTS, NOTICES
from app.notifications.events.operator_events import notify_dropped_messages
from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import Database
from app.rules.engine.threshold_evaluator import CompiledRule
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.alerts.helpers import NOW, AlertStreet, cause, make_street
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    dispatching,
    emit,
    with_webhooks,
)
from tests.integration.notifications.postman import GROUPING, URL, Postman
from tests.integration.notifications.receivers import receiving, status

ALERTMANAGER = Draft202012Validator(
    json.loads(
        (Path(__file__).parents[2] / "data" / "alertmanager-webhook-v4.schema.json").read_text(
            encoding="utf-8"
        )
    )
)
EVENT = {"type": "gunshot", "class": "pistol", "model": "glock-17", "confidence": 0.81, "time_us": 0}


@pytest.fixture
async def street(database: Database, connection: asyncpg.Connection) -> AlertStreet:
    return await make_street(database, connection)


@pytest.fixture
def postman(street: AlertStreet, settings: VigieSettings) -> Postman:
    return Postman(street, settings.webhooks)


async def bodies(postman: Postman, endpoint: UUID) -> list[dict[str, Any]]:
    rows = await postman.connection.fetch(
        "SELECT body FROM deliveries WHERE endpoint_id = $1 ORDER BY id", endpoint
    )
    return [json.loads(row["body"]) for row in rows]


async def live(street: AlertStreet, rule: CompiledRule) -> None:
    """Everything that alerts tell of, but for what people do."""
    story, recognised, whole = street.story(rule=rule), street.story(street.second), street.story(None)
    boxes = (street.first, street.second)
    await street.batch(
        story.fires(1),
        recognised.fires(1, why=cause(0.81, metric=None, event=EVENT, clear=None)),
        whole.fires(1, why=cause(30.5, boxes=boxes, function="mean", window_us=600_000_000)),
    )
    await street.let_pass(16)
    await street.sweep()
    await street.batch(story.rises(2, "critical"))
    await street.batch(story.falls(3, "warning"))
    await street.batch(story.ends(4), whole.ends(4, "rule_changed"))


async def test_what_alerts_tell_is_of_the_catalogues_shapes_to_the_last_field(
    postman: Postman, street: AlertStreet
) -> None:
    plain, _ = await add_endpoint(postman.connection, street.organisation_id, URL)
    grouped = await postman.endpoint()
    steps = [{"after": "PT15M", "severity": "critical"}]
    rule = await street.add_rule("dust", severity="info", remind_every="PT10M", description="Close.")
    raised = await street.add_rule("more", escalations=steps)
    await street.batch(street.story(rule=raised).fires(0))
    await live(street, rule)
    await postman.send()
    told = await bodies(postman, plain)
    groups = await bodies(postman, grouped)
    for body in told + groups:
        EVENT_SCHEMAS[body["type"]].model_validate_json(json.dumps(body), extra="forbid")
    assert {body["type"] for body in told} == {
        name for name in EVENTS if name.startswith("alert.") and name != "alert.acknowledged"
    }
    assert {body["data"].get("reason") for body in told} == {None, "samples", "unacknowledged"}
    assert {body["type"] for body in groups} == {"alert.group"}


async def test_what_people_and_the_platform_cause_is_of_its_shape_too(
    tenant: Tenant, site_id: str, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "box-0001", "site_id": site_id})
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "for": "PT0S"}
    rule = {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": condition}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), URL)
    owner = await connection.fetchval("SELECT id FROM organisations WHERE platform")
    watching, _ = await add_endpoint(connection, owner, URL)
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 31.2}}
    answer = await tenant.client.post("/v1/telemetry", json={"box": "box-0001", "samples": [sample]})
    answer.raise_for_status()
    (alert,) = (await tenant.client.get("/v1/alerts")).json()["data"]
    await tenant.client.post(f"/v1/alerts/{alert['id']}/acknowledge")
    (await tenant.client.post(f"/v1/webhooks/{endpoint}/test")).raise_for_status()
    assert await notify_dropped_messages(connection, dropped=3, total=7, started_at=NOW, now=NOW)
    street = AlertStreet(connection, None, UUID(tenant.id), UUID(site_id), {}, None)  # type: ignore[arg-type] # unused
    postman = Postman(street, settings.webhooks)
    await postman.gather()
    told = await bodies(postman, endpoint) + await bodies(postman, watching)
    for body in told:
        EVENT_SCHEMAS[body["type"]].model_validate_json(json.dumps(body), extra="forbid")
    assert {body["type"] for body in told} == {
        "alert.firing",
        "alert.acknowledged",
        "webhook.test",
        "platform.messages_dropped",
    }


async def test_every_form_of_what_alerts_tell_can_be_read_by_others(
    postman: Postman, street: AlertStreet
) -> None:
    ours = street.organisation_id
    plain, _ = await add_endpoint(postman.connection, ours, URL)
    clouds, _ = await add_endpoint(postman.connection, ours, URL, format_="cloudevents")
    manager, _ = await add_endpoint(postman.connection, ours, URL, format_="alertmanager")
    by_site = {**GROUPING, "by": ["site"]}
    both = [await postman.endpoint(by_site, format_=name) for name in ("cloudevents", "alertmanager")]
    rule = await street.add_rule("dust", severity="info", remind_every="PT10M")
    await live(street, rule)
    await postman.send()
    events = await bodies(postman, plain)
    for event, cloud in zip(events, await bodies(postman, clouds), strict=True):
        read(cloud, f"vigie.{event['type']}", event["data"])
    sent = await bodies(postman, manager)
    check_lives(sent)
    assert len(sent) == len(events)
    (cloud,) = await bodies(postman, both[0])
    assert cloud["type"] == "vigie.alert.group"
    assert "subject" not in cloud
    assert cloud["source"] == f"/organisations/{ours}/sites/{street.site_id}"
    read(cloud, "vigie.alert.group", cloud["data"])
    (group,) = await bodies(postman, both[1])
    ALERTMANAGER.validate(group)
    assert {alert["fingerprint"] for alert in group["alerts"]} <= {
        one["alerts"][0]["fingerprint"] for one in sent
    }
    assert (group["status"], group["truncatedAlerts"]) == ("firing", 0)


async def test_a_groups_delivery_has_its_site_its_format_and_its_id(
    postman: Postman, street: AlertStreet
) -> None:
    by_site = await postman.endpoint(format_="cloudevents")
    by_severity = await postman.endpoint({**GROUPING, "by": ["severity"]}, kind="mqtt", target={})
    mail = await postman.endpoint(kind="email", target={"to": ["a@example.com"], "language": "fr"})
    await street.connection.execute("UPDATE sites SET name = 'Quai' WHERE id = $1", street.site_id)
    await street.batch(street.story().fires(1), street.story(street.second).fires(1))
    await postman.send()
    rows = {row["endpoint_id"]: row for row in await street.connection.fetch("SELECT * FROM deliveries")}
    assert {endpoint: (row["site_id"], row["format"]) for endpoint, row in rows.items()} == {
        by_site: (street.site_id, "cloudevents"),
        by_severity: (None, "native"),
        mail: (street.site_id, "native"),
    }
    for endpoint in (by_site, by_severity):
        row = rows[endpoint]
        assert json.loads(row["body"])["id"] == build_message_id(row["event_id"])
    assert "Quai" in json.loads(rows[mail]["body"])["text"]


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [
        ("native", "application/json"),
        ("cloudevents", "application/cloudevents+json"),
        ("alertmanager", "application/json"),
    ],
)
async def test_a_receiver_is_told_what_it_gets(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings, format_: str, media_type: str
) -> None:
    api = settings.api.model_copy(update={"public_url": "https://vigie.example.com/"})
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url, format_=format_)
        wired = with_webhooks(settings).model_copy(update={"api": api})
        async with dispatching(wired, database):
            await emit(connection, alert_event(organisation))
            (got,) = await receiver.wait(1)
    assert got.headers["content-type"].partition(";")[0] == media_type
    Webhook(secret).verify(got.body, got.headers)
    if format_ == "alertmanager":
        assert json.loads(got.body)["externalURL"] == "https://vigie.example.com"


@pytest.mark.parametrize(
    "verdict", [HealthAction.WARN, HealthAction.DISABLE_FAILING, HealthAction.DISABLE_GONE]
)
async def test_a_notice_is_of_its_shape_and_reaches_the_mailbox(
    connection: asyncpg.Connection, settings: VigieSettings, verdict: HealthAction
) -> None:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, URL)
    mail, _ = await add_endpoint(
        connection, organisation, None, kind="email", target={"to": ["a@example.com"]}
    )
    plain, _ = await add_endpoint(connection, organisation, URL, events=sorted(NOTICES))
    async with connection.transaction():
        await endpoint_state_repository.create_missing_states(connection, [endpoint])
        (known,) = await endpoint_state_repository.lock_endpoints(connection, [endpoint], whole=True)
        notice = await endpoint_state_repository.apply_health_action(
            connection, known, known.health, verdict, NOW
        )
        await enqueue_events(connection, [notice])
    await fan_out_events(connection, settings.webhooks)
    rows = {row["endpoint_id"]: row for row in await connection.fetch("SELECT * FROM deliveries")}
    assert rows.keys() == {mail, plain}
    body = rows[plain]["body"]
    assert notice.type in NOTICES
    EVENT_SCHEMAS[notice.type].model_validate_json(body, extra="forbid")
    assert URL.rstrip("/") in json.loads(rows[mail]["body"])["text"]


async def test_the_catalogue_is_there_for_who_may_read_webhooks(
    api: httpx.AsyncClient, tenant: Tenant
) -> None:
    listed = (await tenant.client.get("/v1/event-types")).raise_for_status().json()
    assert [one["type"] for one in listed["data"]] == list(EVENT_SCHEMAS)
    assert listed["next"] is None
    for one in listed["data"]:
        assert one["description"]
        assert one["subscribable"] is (one["type"] in EVENTS)
        Draft202012Validator(one["schema"]).validate(one["example"])
    body = {"organisation_id": tenant.id, "name": "boxes only", "scopes": ["sites:read"]}
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    answer = await tenant.client.get("/v1/event-types", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def read(cloud: dict[str, Any], type_: str, data: dict[str, Any]) -> None:
    event = from_http_event(
        HTTPMessage({"content-type": "application/cloudevents+json"}, json.dumps(cloud).encode())
    )
    assert (event.get_type(), event.get_data()) == (type_, data)


def check_lives(messages: Sequence[dict[str, Any]]) -> None:
    """Each alert is one to its receiver, from when it fires until it is over."""
    ends: dict[str, str] = {}
    for message in messages:
        ALERTMANAGER.validate(message)
        (alert,) = message["alerts"]
        assert message["status"] == alert["status"]
        assert ends.get(alert["fingerprint"]) != "resolved"
        ends[alert["fingerprint"]] = alert["status"]
    assert sorted(ends.values()) == ["firing", "resolved", "resolved"]
