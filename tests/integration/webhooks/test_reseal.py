"""Secrets are sealed under the newest key, whatever they were stored as."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.core.database import Database
from app.core.sealing import Sealer
from app.webhooks import reseal
from app.webhooks.reseal import Resealer
from app.webhooks.secrets import open_headers, open_secret, seal_headers, seal_secret
from app.webhooks.signing import generate_secret
from tests.integration.webhooks.helpers import add_endpoint, add_organisation
from tests.integration.webhooks.log import add_channel, ago

OLD, NEW = Sealer([b"o" * 32]), Sealer([b"n" * 32])
BOTH = Sealer([b"n" * 32, b"o" * 32])


def _shown() -> float | None:
    return REGISTRY.get_sample_value("vigie_secrets_to_seal")


async def _rows(connection: asyncpg.Connection) -> dict[UUID, asyncpg.Record]:
    return {row["id"]: row for row in await connection.fetch("SELECT * FROM webhook_endpoints")}


async def _endpoint(
    connection: asyncpg.Connection,
    sealer: Sealer | None,
    *,
    former: list[tuple[str, float]] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[UUID, str]:
    """One whose secrets are under a key, or in clear; `former` with how long they sign yet, in hours."""
    owner = await connection.fetchval("SELECT id FROM organisations LIMIT 1")
    endpoint, secret = await add_endpoint(connection, owner, "https://example.com/")

    def kept(text: str) -> str:
        return text if sealer is None else seal_secret(sealer, endpoint, text)

    ended = [
        {"secret": kept(text), "expires_at": (ago() + timedelta(hours=hours)).isoformat()}
        for text, hours in former or []
    ]
    await connection.execute(
        "UPDATE webhook_endpoints SET secret = $2, former_secrets = $3::text::jsonb, headers = $4 "
        "WHERE id = $1",
        *(endpoint, kept(secret), json.dumps(ended)),
        None if sealer is None else seal_headers(sealer, endpoint, headers or {}),
    )
    return endpoint, secret


@pytest.fixture(autouse=True)
async def _owner(connection: asyncpg.Connection) -> None:
    await add_organisation(connection)


@pytest.mark.parametrize("at_once", [1, 2, 200])
async def test_what_is_in_clear_is_sealed_and_means_the_same(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(reseal, "_AT_ONCE", at_once)
    former = generate_secret()
    made = [await _endpoint(connection, None, former=[(former, 1)]) for _ in range(5)]
    owner = await connection.fetchval("SELECT id FROM organisations LIMIT 1")
    channel = await add_channel(connection, owner)
    assert await Resealer(NEW).turn(connection) == 0
    assert _shown() == 0
    rows = await _rows(connection)
    for endpoint, secret in made:
        row = rows[endpoint]
        assert open_secret(NEW, endpoint, row["secret"]) == secret
        (kept,) = json.loads(row["former_secrets"])
        assert open_secret(NEW, endpoint, kept["secret"]) == former
        assert "whsec_" not in str(dict(row))
    assert rows[channel]["secret"] is None
    # What is sealed under the first key is not touched again.
    await Resealer(NEW).turn(connection)
    assert await _rows(connection) == rows


async def test_what_an_older_key_sealed_is_sealed_anew(connection: asyncpg.Connection) -> None:
    former = generate_secret()
    endpoint, secret = await _endpoint(
        connection, OLD, former=[(former, 1), (generate_secret(), -1)], headers={"X-Key": "hunter2"}
    )
    assert await Resealer(BOTH).turn(connection) == 0
    row = (await _rows(connection))[endpoint]
    # The old key may go now.
    assert open_secret(NEW, endpoint, row["secret"]) == secret
    assert open_headers(NEW, endpoint, row["headers"]) == {"X-Key": "hunter2"}
    (kept,) = json.loads(row["former_secrets"])
    assert open_secret(NEW, endpoint, kept["secret"]) == former


async def test_what_cannot_be_opened_stays_and_is_told_of_once(connection: asyncpg.Connection) -> None:
    foreign, _ = await _endpoint(connection, OLD, headers={"X-Key": "hunter2"})
    fine, secret = await _endpoint(connection, None)
    before = (await _rows(connection))[foreign]
    resealer = Resealer(NEW)
    with capture_logs() as logs:
        assert await resealer.turn(connection) == 2
        assert await resealer.turn(connection) == 2
    assert _shown() == 2
    rows = await _rows(connection)
    assert rows[foreign] == before
    assert open_secret(NEW, fine, rows[fine]["secret"]) == secret
    told = [line for line in logs if line["event"] == "secret_not_sealed"]
    assert [line["endpoint_id"] for line in told] == [str(foreign)]
    assert "hunter2" not in str(logs)
    assert "whsec_" not in str(logs)


async def test_without_a_key_all_stays_as_it_is_and_is_counted(connection: asyncpg.Connection) -> None:
    await _endpoint(connection, None, former=[(generate_secret(), 1)])
    await _endpoint(connection, OLD, headers={"X-Key": "a"})
    before = await _rows(connection)
    assert await Resealer(Sealer([])).turn(connection) == 4
    assert await _rows(connection) == before


async def test_former_secrets_that_ended_are_forgotten(connection: asyncpg.Connection) -> None:
    endpoint, _ = await _endpoint(connection, NEW, former=[(generate_secret(), -1), (generate_secret(), 1)])
    await Resealer(NEW).turn(connection)
    assert len(json.loads((await _rows(connection))[endpoint]["former_secrets"])) == 1


async def test_one_that_is_being_changed_is_left_for_the_next_time(
    connection: asyncpg.Connection, database: Database
) -> None:
    endpoint, _ = await _endpoint(connection, None)
    other, secret = await _endpoint(connection, None)
    holder: Any = await database.connect()
    async with holder.transaction():
        await holder.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", endpoint)
        assert await Resealer(NEW).turn(connection) == 1
    await holder.close()
    assert open_secret(NEW, other, (await _rows(connection))[other]["secret"]) == secret
    assert await Resealer(NEW).turn(connection) == 0
