"""Batches by webhook: signed, compressed, repeated under the same ids only, replayed."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import at, send
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)
from tests.integration.notifications.receivers import ReceivedRequest, Receiver, receiving, status


def items_of(receiver: Receiver) -> list[dict[str, Any]]:
    return [item for request in receiver.got for item in json.loads(request.body)["items"]]


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_a_receiver_gets_signed_batches_of_every_sample(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], *, is_compressed: bool
) -> None:
    async with receiving(status(204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url}, gzip=is_compressed)
        assert made["secrets"] == ["secret"]
        for number in range(3):
            await send(tenant, boxes[0], (number, {"pm2_5": number, "laeq": 50.5}), seq=number)
        await send(tenant, boxes[1], (-60, {"pm2_5": 1}))
        await until_sent(tenant, made["id"], 4)
        shown = await read_subscription(tenant, made["id"])
    assert "secret" not in shown
    verifier = Webhook(made["secret"])
    for request in receiver.got:
        # As frameworks do, the receiver's has decompressed the body.
        verifier.verify(request.body, request.headers)
        assert request.headers.get("content-encoding") == ("gzip" if is_compressed else None)
        assert request.headers["webhook-id"] == f"msg_{json.loads(request.body)['id'].replace('-', '')}"
    items = items_of(receiver)
    assert [(item["box"], item["values"]) for item in items] == [
        *((boxes[0], {"pm2_5": number, "laeq": 50.5}) for number in range(3)),
        (boxes[1], {"pm2_5": 1}),
    ]
    assert [item["seq"] for item in items[:3]] == [0, 1, 2]
    batches = await list_batches(tenant, made["id"])
    assert {batch["state"] for batch in batches} == {"delivered"}
    assert [batch["attempts"][-1]["status"] for batch in batches] == [204] * len(batches)
    assert sum(batch["item_count"] for batch in batches) == 4


async def test_a_batch_is_due_by_its_size_or_its_age(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        target = {"kind": "webhook", "url": receiver.url}
        made = await subscribe(tenant, target, batch={"size": 5, "max_age": "PT2S"})
        await send(tenant, boxes[0], *((float(number), {"pm2_5": float(number)}) for number in range(12)))
        await receiver.wait(3)
        await until_sent(tenant, made["id"], 12)
    sizes = [len(json.loads(request.body)["items"]) for request in receiver.got]
    assert sizes == [5, 5, 2]
    batches = await list_batches(tenant, made["id"])
    assert [batch["item_count"] for batch in batches] == sizes


async def test_a_failure_is_repeated_under_the_same_id(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(503, 500, 200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await receiver.wait(1)
        failing = await eventually(lambda: _failing(tenant, made["id"]))
        assert failing is not None
        assert failing["health"]["last_reason"] == "http_error"
        # What comes meanwhile is not in the batch that is repeated.
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))
        await until_sent(tenant, made["id"], 2)
    ids = [json.loads(request.body)["id"] for request in receiver.got]
    bodies = [request.body for request in receiver.got]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert bodies[0] == bodies[1] == bodies[2]
    first, _ = await list_batches(tenant, made["id"])
    assert [attempt["status"] for attempt in first["attempts"]] == [503, 500, 200]
    shown = await read_subscription(tenant, made["id"])
    assert (shown["state"], shown["health"]["consecutive_failures"]) == ("active", 0)


async def _failing(tenant: Tenant, identifier: str) -> dict[str, Any] | None:
    shown = await read_subscription(tenant, identifier)
    return shown if shown["health"]["consecutive_failures"] else None


async def test_a_sink_that_hangs_or_fails_delays_no_other(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(500)) as broken, receiving(status(200)) as well, serving(settings):
        first = await subscribe(tenant, {"kind": "webhook", "url": broken.url})
        second = await subscribe(tenant, {"kind": "webhook", "url": well.url})
        for number in range(3):
            await send(tenant, boxes[0], (number, {"pm2_5": number}))
        await until_sent(tenant, second["id"], 3)
        assert (await read_subscription(tenant, first["id"]))["items_sent"] == 0


async def test_a_gone_receiver_disables_until_somebody_resumes(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(410, 200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))

        async def disabled() -> dict[str, Any] | None:
            shown = await read_subscription(tenant, made["id"])
            return shown if shown["state"] == "disabled" else None

        shown = await eventually(disabled)
        assert shown is not None
        assert shown["disabled_reason"] == "gone"
        assert shown["disabled_at"] is not None
        listed = await tenant.client.get("/v1/measurement-subscriptions", params={"state": "disabled"})
        assert [each["id"] for each in listed.json()["data"]] == [made["id"]]
        await act(tenant, made["id"], "resume")
        await until_sent(tenant, made["id"], 1)
    assert len({json.loads(request.body)["id"] for request in receiver.got}) == 1


async def test_secrets_that_cannot_be_opened_are_a_failure_that_is_shown(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], database: Database
) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        connection = await database.connect()
        await connection.execute("UPDATE measurement_subscriptions SET credentials = 'sealed:1:0:AAAA'")
        await connection.close()
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        failing = await eventually(lambda: _failing(tenant, made["id"]))
        assert failing is not None
        assert failing["health"]["last_reason"] == "not_configured"
        assert failing["secrets"] == ["…"]
        # A change has to give all of them again; then they work.
        sink = {"kind": "webhook", "url": f"{receiver.url}/2", "headers": None}
        path = f"/v1/measurement-subscriptions/{made['id']}"
        refused = await tenant.client.patch(path, json={"sink": sink})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "secrets_unreadable")
        body = {"sink": {**sink, "secret": made["secret"]}}
        answer = await tenant.client.patch(path, json=body)
        assert answer.status_code == 200, answer.text
        await until_sent(tenant, made["id"], 1)


async def test_failures_for_days_disable(settings: VigieSettings, tenant: Tenant, boxes: list[str]) -> None:
    impatient = settings.webhooks.model_copy(
        update={"disable_after_s": 0.5, "warn_after_s": 0.1, "breaker_failures": 2, "breaker_max_s": 0.2}
    )
    async with receiving(status(500)) as receiver, serving(settings, impatient):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))

        async def disabled() -> str | None:
            reason: str | None = (await read_subscription(tenant, made["id"]))["disabled_reason"]
            return reason

        assert await eventually(disabled) == "failing"


async def test_a_pause_and_a_rewind(settings: VigieSettings, tenant: Tenant, boxes: list[str]) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1}), (1, {"pm2_5": 2}))
        await until_sent(tenant, made["id"], 2)
        first = items_of(receiver)
        assert (await act(tenant, made["id"], "pause"))["state"] == "paused"
        await send(tenant, boxes[0], (2, {"pm2_5": 3}))
        # After its first item, while it is paused.
        await act(tenant, made["id"], "rewind", {"item": first[0]["id"]})
        assert len(receiver.got) == 1
        await act(tenant, made["id"], "resume")
        await until_sent(tenant, made["id"], 4)
        again = items_of(receiver)[2:]
        assert [item["id"] for item in again[:1]] == [first[1]["id"]]
        assert [item["values"]["pm2_5"] for item in again] == [2, 3]
        # To a time before everything.
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await until_sent(tenant, made["id"], 7)
    everything = items_of(receiver)
    assert [item["id"] for item in everything[4:6]] == [item["id"] for item in first]
    assert len({item["id"] for item in everything}) == 3


async def test_a_replay_sends_the_same_batch_and_leaves_the_cursor(
    settings: VigieSettings, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await send(tenant, boxes[0], (0, {"pm2_5": 1, "laeq": 55}))
        await until_sent(tenant, made["id"], 1)
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))
        before = await until_sent(tenant, made["id"], 2)
        first, _ = await list_batches(tenant, made["id"])
        answer = await tenant.client.post(f"/v1/measurement-batches/{first['id']}/replay")
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        after = await until_sent(tenant, made["id"], 3)
        assert receiver.got[2].body == receiver.got[0].body
        assert receiver.got[2].headers["webhook-id"] == receiver.got[0].headers["webhook-id"]
        assert after["cursor"].split("-")[0] >= before["cursor"].split("-")[0]
        # What may no longer be seen is left out of a replay.
        (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/noise")).raise_for_status()
        await tenant.client.post(f"/v1/measurement-batches/{first['id']}/replay")
        await until_sent(tenant, made["id"], 4)
    assert json.loads(receiver.got[3].body)["items"][0]["values"] == {"pm2_5": 1}


async def test_a_test_sends_no_items(settings: VigieSettings, tenant: Tenant) -> None:
    async with receiving(status(204)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        batch = await act(tenant, made["id"], "test")
        await receiver.wait(1)

        async def delivered() -> bool:
            shown = (await tenant.client.get(f"/v1/measurement-batches/{batch['id']}")).json()
            return bool(shown["state"] == "delivered")

        await eventually(delivered)
    Webhook(made["secret"]).verify(receiver.got[0].body, receiver.got[0].headers)
    assert json.loads(receiver.got[0].body)["items"] == []


async def test_access_is_checked_again_before_each_batch(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    body = {"name": "reader", "scopes": ["telemetry:read", "webhooks:write", "webhooks:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()
    async with receiving(status(200)) as receiver, serving(settings):
        made = (
            (
                await tenant.client.post(
                    "/v1/measurement-subscriptions",
                    json={
                        "name": "Test",
                        "sink": {"kind": "webhook", "url": receiver.url},
                        "batch": {"max_age": "PT0S"},
                    },
                    headers={"Authorization": f"Bearer {key['key']}"},
                )
            )
            .raise_for_status()
            .json()
        )
        assert made["created_by"] == key["id"]
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await until_sent(tenant, made["id"], 1)
        (await tenant.client.delete(f"/v1/api-keys/{key['id']}")).raise_for_status()
        await send(tenant, boxes[0], (1, {"pm2_5": 2}))

        async def disabled() -> str | None:
            reason: str | None = (await read_subscription(tenant, made["id"]))["disabled_reason"]
            return reason

        assert await eventually(disabled) == "access_lost"
        assert len(receiver.got) == 1
        # Whoever resumes it lends its own access.
        await act(tenant, made["id"], "resume")
        await until_sent(tenant, made["id"], 2)


async def test_an_ended_purpose_shows_nothing_of_itself(
    settings: VigieSettings, tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        made = await subscribe(tenant, {"kind": "webhook", "url": receiver.url})
        await act(tenant, made["id"], "pause")
        await send(tenant, boxes[0], (0, {"laeq": 55}), (1, {"pm2_5": 2, "laeq": 56}))
        (await tenant.client.delete(f"/v1/sites/{site_id}/purposes/noise")).raise_for_status()
        await act(tenant, made["id"], "resume")
        await until_sent(tenant, made["id"], 1)
    assert [item["values"] for item in items_of(receiver)] == [{"pm2_5": 2}]


async def test_formats_by_webhook(settings: VigieSettings, tenant: Tenant, boxes: list[str]) -> None:
    types = {
        "cloudevents": "application/cloudevents-batch+json",
        "senml": "application/senml+json",
        "csv": "text/csv",
        "influx": "text/plain",
    }
    async with receiving(status(200)) as receiver, serving(settings):
        made = [
            await subscribe(
                tenant,
                {"kind": "webhook", "url": f"{receiver.url}/{name}", "headers": {"X-Key": "example"}},
                format=name,
                filter={"metrics": ["laeq", "pm2_5"], "boxes": [boxes[0]]},
            )
            for name in types
        ]
        await send(tenant, boxes[0], (0, {"pm2_5": 1.5, "temperature": 20}))
        await send(tenant, boxes[1], (0, {"pm2_5": 9}))
        for each in made:
            await until_sent(tenant, each["id"], 1)
    for request in receiver.got:
        name = request.path.rpartition("/")[2]
        assert request.headers["content-type"].startswith(types[name])
        assert request.headers["x-key"] == "example"
        assert b"1.5" in request.body
        assert b"temperature" not in request.body
    csv = next(request.body for request in receiver.got if request.path.endswith("csv")).decode()
    export = await tenant.client.get(
        "/v1/readings/export",
        params={"box": boxes[0], "from": at(-1), "to": at(1), "metric": ["pm2_5", "laeq"]},
    )
    assert csv == export.text


def verifies(secret: str, request: ReceivedRequest) -> bool:
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_former_secrets_sign_until_their_overlap_ends(
    settings: VigieSettings, tenant: Tenant, boxes: list[str]
) -> None:
    async with receiving(status(200)) as receiver, serving(settings):
        sink = {"kind": "webhook", "url": receiver.url}
        made = await subscribe(tenant, sink)
        path = f"/v1/measurement-subscriptions/{made['id']}"

        async def rotate(**body: str) -> tuple[dict[str, Any], ReceivedRequest]:
            return await act(tenant, made["id"], "rotate-secret", body or None), await send_one()

        async def send_one() -> ReceivedRequest:
            number = len(receiver.got)
            await send(tenant, boxes[0], (number, {"pm2_5": 1}))
            await until_sent(tenant, made["id"], number + 1)
            return receiver.got[-1]

        first, both = await rotate()
        own = "whsec_" + "B" * 32
        answer = await tenant.client.patch(path, json={"sink": {**sink, "secret": own}})
        shown = answer.raise_for_status().json()
        three = await send_one()
        last, one = await rotate(overlap="PT0S")
        assert (await tenant.client.get(path)).json()["secret_expires"] == []
    left = datetime.fromisoformat(first["former_expire_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert [verifies(secret, both) for secret in (made["secret"], first["secret"])] == [True, True]
    assert len(both.headers["webhook-signature"].split()) == 2
    # A change signs with the former secret for a day too; the names of secrets are shown without them.
    assert (len(shown["secret_expires"]), shown["secrets"]) == (2, ["secret"])
    assert all(verifies(secret, three) for secret in (made["secret"], first["secret"], own))
    assert last["former_expire_at"] is None
    secrets = (made["secret"], first["secret"], own, last["secret"])
    assert [verifies(secret, one) for secret in secrets] == [False, False, False, True]


async def test_only_a_webhook_has_a_secret_to_replace(tenant: Tenant) -> None:
    made = await subscribe(tenant, {"kind": "influxdb", "url": "https://example.com/write"})
    path = f"/v1/measurement-subscriptions/{made['id']}/rotate-secret"
    refused = await tenant.client.post(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "sink_without_secret")
