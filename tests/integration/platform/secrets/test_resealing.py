"""Secrets are sealed under the newest key, whatever they were stored as."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.notifications.delivery.retention import delete_expired_secrets
from app.notifications.http.webhook_secrets import open_headers, open_secret, seal_headers, seal_secret
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.db.database import Database
from app.platform.secrets import resealing
from app.platform.secrets.resealing import SealingKeyUsage, SecretResealer, count_sealed_values
from app.platform.secrets.sealed_columns import SEALED, SealedColumn
from app.platform.secrets.sealing import SecretSealer, derive_key_name
from tests.integration.notifications.helpers import add_endpoint, add_organisation
from tests.integration.notifications.log import add_channel, ago

OLD, NEW = SecretSealer([b"o" * 32]), SecretSealer([b"n" * 32])
BOTH = SecretSealer([b"n" * 32, b"o" * 32])


_SEEN = """
SELECT has_column_privilege('vigie_maintain', oid, $2, 'SELECT'),
    has_column_privilege('vigie_maintain', oid, $2, 'UPDATE'),
    NOT relrowsecurity OR EXISTS (
        SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND 'vigie_maintain'::regrole = ANY (polroles)
            AND pg_get_expr(polqual, polrelid) = 'true'
    )
FROM pg_class WHERE oid = $1::text::regclass
"""


def _shown() -> float | None:
    return REGISTRY.get_sample_value("vigie_secrets_to_seal")


async def _rows(connection: asyncpg.Connection) -> dict[UUID, asyncpg.Record]:
    return {row["id"]: row for row in await connection.fetch("SELECT * FROM webhook_endpoints")}


async def _endpoint(
    connection: asyncpg.Connection,
    sealer: SecretSealer | None,
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


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
async def _owner(connection: asyncpg.Connection) -> None:
    await add_organisation(connection)


@pytest.mark.parametrize("at_once", [1, 2, 200])
async def test_what_is_in_clear_is_sealed_and_means_the_same(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(resealing, "_BATCH_ROWS", at_once)
    former = generate_secret()
    made = [await _endpoint(connection, None, former=[(former, 1)]) for _ in range(5)]
    owner = await connection.fetchval("SELECT id FROM organisations LIMIT 1")
    channel = await add_channel(connection, owner)
    assert await SecretResealer(NEW).reseal_due(connection) == 0
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
    await SecretResealer(NEW).reseal_due(connection)
    assert await _rows(connection) == rows


async def test_what_an_older_key_sealed_is_sealed_anew(connection: asyncpg.Connection) -> None:
    former = generate_secret()
    endpoint, secret = await _endpoint(
        connection, OLD, former=[(former, 1), (generate_secret(), 1)], headers={"X-Key": "hunter2"}
    )
    assert await SecretResealer(BOTH).reseal_due(connection) == 0
    row = (await _rows(connection))[endpoint]
    # The old key may go now.
    assert open_secret(NEW, endpoint, row["secret"]) == secret
    assert open_headers(NEW, endpoint, row["headers"]) == {"X-Key": "hunter2"}
    kept, _ = json.loads(row["former_secrets"])
    assert open_secret(NEW, endpoint, kept["secret"]) == former


async def test_what_cannot_be_opened_stays_and_is_told_of_once(connection: asyncpg.Connection) -> None:
    foreign, _ = await _endpoint(connection, OLD, headers={"X-Key": "hunter2"})
    fine, secret = await _endpoint(connection, None)
    before = (await _rows(connection))[foreign]
    resealer = SecretResealer(NEW)
    with capture_logs() as logs:
        assert await resealer.reseal_due(connection) == 2
        assert await resealer.reseal_due(connection) == 2
    assert _shown() == 2
    rows = await _rows(connection)
    assert rows[foreign] == before
    assert open_secret(NEW, fine, rows[fine]["secret"]) == secret
    told = [line for line in logs if line["event"] == "secret_not_sealed"]
    assert [(line["column"], line["row"]) for line in told] == [("webhook_endpoints.secret", str(foreign))]
    assert "hunter2" not in str(logs)
    assert "whsec_" not in str(logs)


async def test_without_a_key_all_stays_as_it_is_and_is_counted(connection: asyncpg.Connection) -> None:
    await _endpoint(connection, None, former=[(generate_secret(), 1)])
    await _endpoint(connection, OLD, headers={"X-Key": "a"})
    before = await _rows(connection)
    assert await SecretResealer(SecretSealer([])).reseal_due(connection) == 4
    assert await _rows(connection) == before


async def test_former_secrets_that_ended_are_forgotten(connection: asyncpg.Connection) -> None:
    first, second = generate_secret(), generate_secret()
    endpoint, _ = await _endpoint(
        connection, NEW, former=[(first, 2), (generate_secret(), -1), (second, 1), (generate_secret(), -2)]
    )
    other, _ = await _endpoint(connection, NEW, former=[(generate_secret(), -1)])
    await delete_expired_secrets(connection)
    rows = await _rows(connection)
    left = [each["secret"] for each in json.loads(rows[endpoint]["former_secrets"])]
    assert [open_secret(NEW, endpoint, sealed) for sealed in left] == [first, second]
    assert rows[other]["former_secrets"] == "[]"


async def test_what_is_sealed_with_which_key_is_counted(connection: asyncpg.Connection) -> None:
    await _endpoint(connection, None)
    await _endpoint(
        connection, OLD, former=[(generate_secret(), 1), (generate_secret(), 1)], headers={"a": "b"}
    )
    await _endpoint(connection, NEW)
    old, new = derive_key_name(b"o" * 32), derive_key_name(b"n" * 32)
    assert set(await count_sealed_values(connection)) == {
        SealingKeyUsage("webhook_endpoints.secret", new, 1),
        SealingKeyUsage("webhook_endpoints.secret", old, 1),
        SealingKeyUsage("webhook_endpoints.secret", None, 1),
        SealingKeyUsage("webhook_endpoints.former_secrets", old, 2),
        SealingKeyUsage("webhook_endpoints.headers", old, 1),
    }


async def test_a_key_of_several_columns_is_walked(
    connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "_BATCH_ROWS", 2)
    await connection.execute(
        "CREATE TABLE kept (tenant int, name text, answer text, PRIMARY KEY (tenant, name))"
    )
    column = SealedColumn("kept", "answer", "answer:{}:{}", key=("tenant", "name"))
    rows = [(tenant, name) for tenant in (1, 2) for name in ("a", "b", "c")]
    for key in rows:
        sealed = column.seal(OLD, f"text of {key}", *key)
        await connection.execute("INSERT INTO kept VALUES ($1, $2, $3)", *key, sealed)
    await connection.execute("INSERT INTO kept VALUES (3, 'a', NULL)")
    # One that was sealed for another row holds up no other.
    swapped = column.seal(OLD, "x", 9, "z")
    await connection.execute("UPDATE kept SET answer = $1 WHERE tenant = 1 AND name = 'b'", swapped)
    assert await SecretResealer(BOTH, (column,)).reseal_due(connection) == 1
    for tenant, name, answer in await connection.fetch("SELECT * FROM kept WHERE tenant < 3"):
        if (tenant, name) == (1, "b"):
            assert answer == swapped
        else:
            assert column.open(NEW, answer, tenant, name) == f"text of {(tenant, name)}"


async def test_every_column_of_the_registry_is_there(connection: asyncpg.Connection) -> None:
    there = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    known = {f"{row['table_name']}.{row['column_name']}" for row in there}
    assert {column.name for column in SEALED} <= known
    keys = {f"{column.table}.{key}" for column in SEALED for key in column.key}
    assert keys <= known
    for column in SEALED:
        # It is `maintain` that seals anew: a row that it cannot see would be lost with the old key.
        (seen,) = await connection.fetch(_SEEN, column.table, column.column)
        assert tuple(seen) == (True, True, True), column.name


async def test_one_that_is_being_changed_is_left_for_the_next_time(
    connection: asyncpg.Connection, database: Database
) -> None:
    endpoint, _ = await _endpoint(connection, None)
    other, secret = await _endpoint(connection, None)
    holder: Any = await database.connect()
    async with holder.transaction():
        await holder.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", endpoint)
        assert await SecretResealer(NEW).reseal_due(connection) == 1
    await holder.close()
    assert open_secret(NEW, other, (await _rows(connection))[other]["secret"]) == secret
    assert await SecretResealer(NEW).reseal_due(connection) == 0
