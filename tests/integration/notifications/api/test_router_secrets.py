"""Secrets by REST: their replacement, what is stored of them, and an installation without a key."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.notifications.http.webhook_signatures import generate_secret
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.db.database import Database
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.notifications.calls import URL, create
from tests.integration.notifications.helpers import dispatching, until, with_webhooks
from tests.integration.notifications.receivers import ReceivedRequest, Receiver, receiving, status

DAY = timedelta(days=1)


async def _rotate(tenant: Tenant, made: dict[str, Any], **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await tenant.client.post(f"/v1/webhooks/{made['id']}/rotate-secret", json=body)
    assert answer.status_code == 200, answer.text
    rotated: dict[str, Any] = answer.json()
    return rotated


async def _tested(tenant: Tenant, made: dict[str, Any], receiver: Receiver) -> ReceivedRequest:
    before = len(receiver.got)
    (await tenant.client.post(f"/v1/webhooks/{made['id']}/test")).raise_for_status()
    return (await receiver.wait(before + 1))[-1]


def _verifies(secret: str, got: ReceivedRequest) -> bool:
    try:
        Webhook(secret).verify(got.body, got.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_old_and_new_secret_verify_one_request_until_the_overlap_ends(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver, dispatching(with_webhooks(settings), database):
        made = await create(tenant, url=receiver.url)
        path = f"/v1/webhooks/{made['id']}"
        first = await _rotate(tenant, made, overlap="PT1H")
        ends = datetime.fromisoformat(first["former_expire_at"])
        assert timedelta() < ends - datetime.now(UTC) <= timedelta(hours=1)
        assert (await tenant.client.get(path)).json()["secret_expires"] == [first["former_expire_at"]]
        both = await _tested(tenant, made, receiver)

        # The hour passes.
        await connection.execute(
            "UPDATE webhook_endpoints SET former_secrets = jsonb_set(former_secrets, '{0,expires_at}', "
            "to_jsonb(now()))"
        )
        assert (await tenant.client.get(path)).json()["secret_expires"] == []
        one = await _tested(tenant, made, receiver)
        second = await _rotate(tenant, made, overlap="P7D")
        third = await _rotate(tenant, made)
        three = await _tested(tenant, made, receiver)
        fourth = await _rotate(tenant, made, overlap="PT0S")
        last = await _tested(tenant, made, receiver)
    assert [_verifies(each, both) for each in (made["secret"], first["secret"])] == [True, True]
    assert len(both.headers["webhook-signature"].split()) == 2
    assert [_verifies(each, one) for each in (made["secret"], first["secret"])] == [False, True]
    # The newest rotation says when the older ones end at the latest.
    until_then = [datetime.fromisoformat(each["former_expire_at"]) for each in (second, third)]
    assert until_then[1] - datetime.now(UTC) < DAY < until_then[0] - datetime.now(UTC)
    assert all(_verifies(each["secret"], three) for each in (first, second, third))
    assert fourth["former_expire_at"] is None
    assert [_verifies(each["secret"], last) for each in (first, second, third, fourth)] == [
        *(False, False, False, True)
    ]


async def test_without_a_body_the_former_secret_signs_for_a_day(tenant: Tenant) -> None:
    made = await create(tenant)
    answer = await tenant.client.post(f"/v1/webhooks/{made['id']}/rotate-secret")
    left = datetime.fromisoformat(answer.json()["former_expire_at"]) - datetime.now(UTC)
    assert DAY - timedelta(minutes=1) < left <= DAY


async def test_former_secrets_are_few(tenant: Tenant) -> None:
    made = await create(tenant)
    path = f"/v1/webhooks/{made['id']}"
    for _ in range(5):
        await _rotate(tenant, made, overlap="P1D")
    refused = await tenant.client.post(f"{path}/rotate-secret", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_secrets")
    assert len((await tenant.client.get(path)).json()["secret_expires"]) == 5
    await _rotate(tenant, made, overlap="PT0S")
    assert (await tenant.client.get(path)).json()["secret_expires"] == []


async def test_a_secret_may_be_ones_own(tenant: Tenant, database: Database, settings: VigieSettings) -> None:
    mine, other = generate_secret(), generate_secret()
    async with receiving(status(204)) as receiver, dispatching(with_webhooks(settings), database):
        made = await create(tenant, url=receiver.url, secret=mine)
        first = await _tested(tenant, made, receiver)
        rotated = await _rotate(tenant, made, secret=other, overlap="PT0S")
        second = await _tested(tenant, made, receiver)
    assert (made["secret"], rotated["secret"]) == (mine, other)
    assert (_verifies(mine, first), _verifies(mine, second), _verifies(other, second)) == (True, False, True)


@pytest.mark.parametrize(
    ("body", "status_", "code"),
    [
        ({"overlap": "P7DT1S"}, 422, "invalid_duration"),
        ({"overlap": "-PT1S"}, 422, "invalid_duration"),
        ({"overlap": "1 day"}, 422, "invalid_duration"),
        ({"overlap": 60}, 422, "wrong_type"),
        ({"overlap": None}, 422, "wrong_type"),
        ({"secret": "whsec_short"}, 422, "invalid_webhook_secret"),
        ({"secret": 7}, 422, "wrong_type"),
        ({"keep": True}, 422, "unknown_field"),
        ([], 422, "wrong_type"),
    ],
)
async def test_what_is_no_rotation(tenant: Tenant, body: object, status_: int, code: str) -> None:
    made = await create(tenant)
    answer = await tenant.client.post(f"/v1/webhooks/{made['id']}/rotate-secret", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status_, code), answer.text
    assert (await tenant.client.get(f"/v1/webhooks/{made['id']}")).json()["secret_expires"] == []


async def test_nothing_is_stored_in_clear(tenant: Tenant, connection: asyncpg.Connection) -> None:
    made = await create(tenant, headers={"Authorization": "Bearer hunter2"})
    rotated = await _rotate(tenant, made)
    (row,) = await connection.fetch("SELECT webhook_endpoints.*::text AS whole FROM webhook_endpoints")
    for secret in (made["secret"], rotated["secret"]):
        assert secret not in row["whole"]
        assert secret.removeprefix("whsec_") not in row["whole"]
    assert "hunter2" not in row["whole"]
    assert "Authorization" not in row["whole"]
    assert row["whole"].count("sealed:1:") == 3


async def test_what_is_stored_opens_in_its_own_row_alone(
    tenant: Tenant, database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    async with receiving(status(204)) as receiver, dispatching(with_webhooks(settings), database):
        one = await create(tenant, url=receiver.url, headers={"X-Key": "hunter2"})
        other = await create(tenant, url=receiver.url)
        # As who can write to the database, and has no key, might try: another's headers sent to oneself.
        await connection.execute(
            "UPDATE webhook_endpoints AS mine SET secret = theirs.secret, headers = theirs.headers "
            "FROM webhook_endpoints AS theirs WHERE mine.id = $1 AND theirs.id = $2",
            *(UUID(other["id"]), UUID(one["id"])),
        )
        await tenant.client.post(f"/v1/webhooks/{other['id']}/test")
        path = f"/v1/webhooks/{other['id']}/deliveries"

        async def attempted() -> list[dict[str, Any]]:
            log = (await tenant.client.get(path)).json()["data"]
            return log[0]["attempts"] if log and log[0]["attempts"] else []

        attempts = await until(attempted)
    assert (attempts[0]["reason"], attempts[0]["status"]) == ("not_configured", None)
    assert receiver.got == []
    shown = (await tenant.client.get(f"/v1/webhooks/{other['id']}")).json()
    assert shown["headers"] == {"…": "…"}


@pytest.fixture
async def keyless(settings: VigieSettings) -> AsyncIterator[FastAPI]:
    """An application of the same installation that nobody gave a key."""
    bare = settings.model_copy(update={"encryption": EncryptionSettings(keys=[], keys_file=None)})
    async with running(new_application(bare)) as app:
        yield app


async def test_without_a_key_nothing_is_kept_and_the_rest_works(tenant: Tenant, keyless: FastAPI) -> None:
    made = await create(tenant, headers={"X-Key": "hunter2"})
    path = f"/v1/webhooks/{made['id']}"
    async with client_of(keyless, tenant.key) as client:
        refused: list[httpx.Response] = [
            await client.post("/v1/webhooks", json={"url": URL}),
            await client.post(f"{path}/rotate-secret"),
            await client.patch(path, json={"headers": {"X-Key": "hunter3"}}),
        ]
        shown = await client.get(path)
        changed = await client.patch(path, json={"headers": None, "description": "Ours"})
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "encryption_key_missing")
        assert "VIGIE_ENCRYPTION__KEYS" in answer.json()["detail"]
    assert (shown.status_code, shown.json()["headers"]) == (200, {"…": "…"})
    assert (changed.status_code, changed.json()["headers"]) == (200, None)


async def test_a_new_key_opens_what_an_older_one_sealed(
    tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    old = settings.encryption.keys[0].get_secret_value()
    keys = EncryptionSettings.model_validate({"keys": [generate_encryption_key(), old]})
    newer = settings.model_copy(update={"encryption": keys})
    async with receiving(status(204)) as receiver, dispatching(with_webhooks(newer), database):
        made = await create(tenant, url=receiver.url)
        got = await _tested(tenant, made, receiver)
    assert _verifies(made["secret"], got)
    assert json.loads(got.body)["type"] == "webhook.test"
