"""The REST side of subscriptions: what is refused, what is shown, who may."""

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel

from app.measurement_stream.subscriptions.sink_configuration import SinkRules, configure_sink, open_secrets
from app.measurement_stream.subscriptions.sink_schemas import (
    SECRETS,
    InfluxdbSink,
    KafkaSink,
    NatsSink,
    WebhookSink,
)
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.errors import InvalidError
from app.platform.secrets.sealing import SEALED_PREFIX, SecretSealer
from tests.conftest import STREET, Tenant
from tests.integration.measurement_stream.conftest import NOW
from tests.integration.measurement_stream.subscribing import act, list_batches, read_subscription, subscribe

PATH = "/v1/measurement-subscriptions"
WEBHOOK = {"kind": "webhook", "url": "https://example.com/hooks"}
NATS = {"kind": "nats", "server": "nats.example.com:4222"}
POSTGRESQL = {
    "kind": "postgresql",
    "server": "db.example.com:5432",
    "database": "city",
    "username": "vigie",
    "password": "very-secret",
}


def codes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["field"], each["code"]) for each in answer.get("errors", [])]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"sink": {"kind": "webhook"}}, "body.sink.url", "missing_field"),
        ({"sink": {"url": "https://example.com"}}, "body.sink.kind", "missing_field"),
        ({"sink": {"kind": "carrier-pigeon"}}, "body.sink.kind", "invalid_value"),
        (
            {"sink": {"kind": "webhook", "url": "https://169.254.169.254/x"}},
            "body.sink.url",
            "webhook_url_not_allowed",
        ),
        ({"sink": {**NATS, "server": "nats.example.com"}}, "body.sink.server", "invalid_value"),
        (
            {"sink": {**NATS, "server": "169.254.169.254:4222"}},
            "body.sink.server",
            "sink_address_not_allowed",
        ),
        ({"sink": {**NATS, "username": "vigie"}}, "body.sink.password", "missing_field"),
        ({"sink": {**NATS, "password": "x"}}, "body.sink.username", "missing_field"),
        ({"sink": {**NATS, "ca_certificate": ""}}, "body.sink.ca_certificate", "invalid_certificate"),
        ({"sink": {**NATS, "ca_certificate": "é"}}, "body.sink.ca_certificate", "invalid_certificate"),
        ({"sink": {**NATS, "ca_certificate": "x"}}, "body.sink.ca_certificate", "invalid_certificate"),
        ({"sink": {**NATS, "topic": "x"}}, "body.sink.topic", "unknown_field"),
        ({"sink": {**POSTGRESQL, "password": None}}, "body.sink.password", "missing_field"),
        ({"sink": POSTGRESQL, "format": "json"}, "body.format", "format_not_offered"),
        ({"sink": NATS, "format": "csv"}, "body.format", "format_not_offered"),
        ({"sink": NATS, "gzip": True}, "body.gzip", "gzip_not_offered"),
        (
            {"format": "csv", "filter": {"kinds": ["sample", "event"]}},
            "body.filter.kinds",
            "format_without_kind",
        ),
        ({"filter": {"metrics": ["warp"]}}, "body.filter.metrics", "unknown_metric"),
        ({"filter": {"kinds": []}}, "body.filter.kinds", "invalid_value"),
        ({"batch": {"size": 5001}}, "body.batch.size", "invalid_value"),
        ({"batch": {"max_age": "PT2H"}}, "body.batch.max_age", "invalid_duration"),
        ({"name": " "}, "body.name", "invalid_text"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_its_field(
    tenant: Tenant, change: dict[str, Any], field: str, code: str
) -> None:
    answer = await tenant.client.post(PATH, json={"name": "Test", "sink": WEBHOOK, **change})
    assert answer.status_code == 422, answer.text
    assert [(found, known) for found, known in codes(answer.json()) if found == field] == [(field, code)]


@pytest.mark.parametrize(
    ("server", "tls", "code"),
    [
        ("10.0.0.1:4222", True, "sink_address_not_allowed"),
        ("nats.internal:4222", True, "sink_address_not_allowed"),
        ("nats.example.com:22", True, "sink_address_not_allowed"),
        ("nats.example.com:4222", False, "sink_without_tls"),
    ],
)
def test_private_addresses_and_plain_connections_need_a_setting(server: str, code: str, *, tls: bool) -> None:
    rules = SinkRules(allow_private=False, public_url="", sealer=SecretSealer([]))
    with pytest.raises(InvalidError) as refused:
        configure_sink(UUID(int=1), NatsSink(kind="nats", server=server, tls=tls), rules, NOW)
    assert refused.value.code == code


def test_kafka_needs_a_setting() -> None:
    sink = KafkaSink(kind="kafka", servers=["kafka.example.com:9093"], topic="measurements")
    rules = SinkRules(allow_private=False, public_url="", sealer=SecretSealer([]))
    with pytest.raises(InvalidError) as refused:
        configure_sink(UUID(int=1), sink, rules, NOW)
    assert refused.value.code == "kafka_not_allowed"
    assert configure_sink(UUID(int=1), sink, rules._replace(allow_kafka=True), NOW).target["tls"]
    assert [WebhookSettings(**each).allows_kafka for each in ({}, {"allow_kafka": True})] == [False, True]
    assert WebhookSettings(allow_private=True).allows_kafka


async def test_secrets_are_stored_encrypted_and_never_shown(tenant: Tenant, database: Database) -> None:
    made = await subscribe(tenant, POSTGRESQL)
    assert made["secret"] is None
    assert made["secrets"] == ["password"]
    assert made["sink"] == {
        **{key: value for key, value in POSTGRESQL.items() if key != "password"},
        "tls": True,
        "ca_certificate": None,
        "schema_name": "public",
        "table": "vigie_measurements",
    }
    hook = await subscribe(tenant, {**WEBHOOK, "headers": {"Authorization": "Bearer very-secret"}})
    assert hook["secret"].startswith("whsec_")
    listed = await tenant.client.get(PATH)
    assert "very-secret" not in listed.text
    assert hook["secret"] not in listed.text
    connection = await database.connect()
    stored = await connection.fetch("SELECT target::text, credentials FROM measurement_subscriptions")
    log = await connection.fetch("SELECT entry::text FROM (SELECT audit_log AS entry FROM audit_log) AS e")
    await connection.close()
    assert all(row["credentials"].startswith(SEALED_PREFIX) for row in stored)
    assert "very-secret" not in json.dumps([dict(row) for row in (*stored, *log)], default=str)


async def test_a_change_needs_the_secrets_again_where_the_address_changes(tenant: Tenant) -> None:
    made = await subscribe(tenant, POSTGRESQL)
    path = f"{PATH}/{made['id']}"
    same = {key: value for key, value in POSTGRESQL.items() if key != "password"}
    answer = await tenant.client.patch(path, json={"sink": {**same, "table": "air"}})
    assert (answer.status_code, answer.json()["sink"]["table"]) == (200, "air")
    assert answer.json()["secrets"] == ["password"]
    moved = await tenant.client.patch(path, json={"sink": {**same, "server": "evil.example.com:5432"}})
    assert (moved.status_code, codes(moved.json())) == (422, [("body.sink.password", "missing_field")])
    other = await tenant.client.patch(path, json={"sink": WEBHOOK})
    assert (other.status_code, codes(other.json())) == (422, [("body.sink.kind", "sink_kind_fixed")])
    given = await tenant.client.patch(
        path, json={"sink": {**POSTGRESQL, "server": "new.example.com:5432"}, "name": "New"}
    )
    assert (given.status_code, given.json()["name"]) == (200, "New")


async def test_a_webhook_keeps_its_secret(tenant: Tenant) -> None:
    """A new one that nobody sees would be useless, and the present one would stop signing."""
    made = await subscribe(tenant, WEBHOOK)
    path = f"{PATH}/{made['id']}"
    answer = await tenant.client.patch(path, json={"sink": {**WEBHOOK, "secret": None}})
    assert (answer.status_code, codes(answer.json())) == (422, [("body.sink.secret", "secret_required")])
    assert "rotate-secret" in answer.text
    kept = await tenant.client.patch(path, json={"sink": WEBHOOK})
    assert (kept.status_code, kept.json()["secrets"], kept.json()["secret_expires"]) == (200, ["secret"], [])


async def test_an_unknown_format_is_shown_as_null(tenant: Tenant, owner: asyncpg.Connection) -> None:
    """That of a newer version, during a rolling upgrade."""
    made = await subscribe(tenant, WEBHOOK)
    await owner.execute(
        "ALTER TABLE measurement_subscriptions DROP CONSTRAINT measurement_subscriptions_format_check"
    )
    await owner.execute("UPDATE measurement_subscriptions SET format = 'newer'")
    listed = (await tenant.client.get(PATH)).raise_for_status().json()["data"]
    assert [(each["id"], each["format"]) for each in listed] == [(made["id"], None)]


@pytest.mark.parametrize(
    ("sink", "again"),
    [
        (WebhookSink.model_validate(WEBHOOK), {"secret": "whsec_" + "A" * 32, "headers": None}),
        (
            InfluxdbSink(kind="influxdb", url="https://example.com", token="t"),
            {"password": None, "token": "t"},
        ),
    ],
)
def test_secrets_that_cannot_be_decrypted_are_given_again(sink: BaseModel, again: dict[str, Any]) -> None:
    ours, lost = (
        SinkRules(allow_private=False, public_url="", sealer=SecretSealer([key * 32])) for key in (b"o", b"l")
    )
    before = configure_sink(UUID(int=1), sink, lost, NOW)
    assert before.credentials is not None
    same = sink.model_dump(exclude=set(SECRETS))
    for name in again:
        partly = {key: value for key, value in again.items() if key != name}
        with pytest.raises(InvalidError) as refused:
            configure_sink(UUID(int=1), type(sink)(**same, **partly), ours, NOW, before)
        assert refused.value.code == "secrets_unreadable"
        assert f"`{name}` again" in refused.value.detail
    stored = configure_sink(UUID(int=1), type(sink)(**same, **again), ours, NOW, before)
    given = {key: value for key, value in again.items() if value is not None}
    assert open_secrets(UUID(int=1), stored.credentials, ours.sealer) == given


async def test_etags_and_idempotency_keys(tenant: Tenant) -> None:
    body = {"name": "Test", "sink": WEBHOOK}
    first, again = [
        await tenant.client.post(PATH, json=body, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert first.json() == again.json()
    path = f"{PATH}/{first.json()['id']}"
    shown = await tenant.client.get(path)
    tag = shown.headers["etag"]
    assert (await tenant.client.get(path, headers={"If-None-Match": tag})).status_code == 304
    # A pause changes what changes by itself.
    await act(tenant, first.json()["id"], "pause")
    change = {"batch": {"size": 7}}
    stale = await tenant.client.patch(path, json=change, headers={"If-Match": '"other"'})
    assert stale.status_code == 412
    fresh = (await tenant.client.get(path)).headers["etag"]
    assert (await tenant.client.patch(path, json=change, headers={"If-Match": fresh})).status_code == 200
    assert (await tenant.client.delete(path, headers={"If-Match": fresh})).status_code == 412
    assert (await tenant.client.delete(path)).status_code == 204
    assert (await tenant.client.get(path)).status_code == 404


async def test_others_see_nothing_of_it(tenant: Tenant, other_tenant: Tenant) -> None:
    made = await subscribe(tenant, WEBHOOK)
    batch = await act(tenant, made["id"], "test")
    client = other_tenant.client
    assert (await client.get(PATH)).json()["data"] == []
    paths = [f"{PATH}/{made['id']}", f"{PATH}/{made['id']}/batches", f"/v1/measurement-batches/{batch['id']}"]
    for path in paths:
        assert (await client.get(path)).status_code == 404
    for path in (*(f"{paths[0]}/{action}" for action in ("pause", "resume", "test")), f"{paths[2]}/replay"):
        assert (await client.post(path)).status_code == 404
    assert (await client.post(f"{paths[0]}/rewind", json={"item": "1-0"})).status_code == 404
    assert (await client.patch(paths[0], json={"name": "x"})).status_code == 404
    assert (await client.delete(paths[0])).status_code == 404
    site = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()
    foreign = await tenant.client.post(
        PATH, json={"name": "Test", "sink": WEBHOOK, "filter": {"site_ids": [site["id"]]}}
    )
    assert foreign.status_code == 404


async def test_scopes(tenant: Tenant) -> None:
    async def answer(scopes: list[str], method: str = "POST") -> int:
        body = {"name": "limited", "scopes": scopes}
        key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
        made = {"name": "Test", "sink": WEBHOOK} if method == "POST" else None
        got = await tenant.client.request(method, PATH, json=made, headers={"Authorization": f"Bearer {key}"})
        return got.status_code

    assert await answer(["webhooks:write"]) == 403
    assert await answer(["telemetry:read"]) == 403
    assert await answer(["telemetry:read", "webhooks:write"]) == 201
    assert await answer(["webhooks:read"], "GET") == 200
    assert await answer(["telemetry:read"], "GET") == 403


async def test_rewinds_pauses_and_tests_that_make_no_sense(tenant: Tenant) -> None:
    made = await subscribe(tenant, WEBHOOK)
    path = f"{PATH}/{made['id']}"
    for body in ({}, {"time": "2026-01-01T00:00:00Z", "item": "1-0"}, {"item": "999999999-0"}):
        answer = await tenant.client.post(f"{path}/rewind", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "rewind_target"), answer.text
    await act(tenant, made["id"], "pause")
    refused = await tenant.client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "subscription_not_active")
    await act(tenant, made["id"], "resume")
    for _ in range(10):
        await act(tenant, made["id"], "test")
    refused = await tenant.client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_tests")
    assert int(refused.headers["retry-after"]) > 0
    assert len(await list_batches(tenant, made["id"])) == 10


async def test_an_organisation_has_a_limit(tenant: Tenant, database: Database) -> None:
    made = await subscribe(tenant, WEBHOOK)
    connection = await database.connect()
    columns = [
        row["attname"]
        for row in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'measurement_subscriptions'::regclass "
            "AND attnum > 0 AND attname <> 'id'"
        )
    ]
    listed = ", ".join(columns)
    await connection.execute(
        f"INSERT INTO measurement_subscriptions (id, {listed}) SELECT gen_random_uuid(), {listed} "  # noqa: S608 (columns)
        "FROM measurement_subscriptions, generate_series(1, 49)"
    )
    await connection.close()
    answer = await tenant.client.post(PATH, json={"name": "Test", "sink": WEBHOOK})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_subscriptions")
    page = (await tenant.client.get(PATH, params={"limit": 30})).json()
    rest = (await tenant.client.get(PATH, params={"limit": 30, "cursor": page["next"]})).json()
    assert len({each["id"] for each in (*page["data"], *rest["data"])}) == 50
    assert made["id"] in {each["id"] for each in page["data"]}


async def test_the_audit_log_has_what_people_do(tenant: Tenant) -> None:
    made = await subscribe(tenant, POSTGRESQL)
    await act(tenant, made["id"], "pause")
    await act(tenant, made["id"], "rewind", {"item": "0-5"})
    (await tenant.client.delete(f"{PATH}/{made['id']}")).raise_for_status()
    entries = (await tenant.client.get("/v1/audit", params={"limit": 50})).raise_for_status().json()["data"]
    actions = [each["action"] for each in entries if each["action"].startswith("measurement_subscription.")]
    assert sorted(actions) == sorted(
        f"measurement_subscription.{what}" for what in ("created", "updated", "updated", "deleted")
    )


async def test_the_start_can_be_in_the_past(tenant: Tenant) -> None:
    now = await subscribe(tenant, WEBHOOK)
    past = await subscribe(tenant, WEBHOOK, start="2026-01-01T00:00:00Z")
    assert past["cursor"].split("-")[0] == "0"
    assert (await read_subscription(tenant, now["id"]))["state"] == "active"
