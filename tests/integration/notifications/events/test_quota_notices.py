"""Organisations are told of their quotas once a day each, whoever counted, and in words that people know."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from app.notifications.events.quota_notices import delete_old_usage, notify_quota_usage
from app.platform.db.database import Database
from app.registry.settings import QuotaSettings
from tests.conftest import Tenant

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
_COUNT = """
INSERT INTO organisation_usage AS u VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (day, organisation_id, quota, writer) DO UPDATE
SET used = u.used + excluded.used, refused = u.refused + excluded.refused
"""


class Teller:
    """The maintainer's look at quotas, under its own role."""

    def __init__(self, connection: asyncpg.Connection, organisation: str) -> None:
        self.connection = connection
        self.organisation = organisation
        self.settings = QuotaSettings()

    async def count(
        self,
        used: int,
        refused: int = 0,
        *,
        quota: str = "samples_per_day",
        now: datetime = NOON,
        writer: int = 1,
    ) -> None:
        await self.connection.execute(_COUNT, self.organisation, now.date(), quota, writer, used, refused)

    async def tell(self, now: datetime = NOON) -> list[tuple[str, dict[str, Any]]]:
        """What is new in the outbox."""
        last = await self.connection.fetchval("SELECT coalesce(max(position), 0) FROM outbox")
        await self.connection.execute("SET ROLE vigie_maintain")
        await notify_quota_usage(self.connection, self.settings, now)
        await self.connection.execute("RESET ROLE")
        query = "SELECT type, payload::text FROM outbox WHERE position > $1 ORDER BY position"
        return [
            (type_, msgspec.json.decode(data)) for type_, data in await self.connection.fetch(query, last)
        ]


@pytest.fixture
async def teller(database: Database, tenant: Tenant) -> AsyncIterator[Teller]:
    connection = await database.connect()
    yield Teller(connection, tenant.id)
    await connection.close()


async def give(api: httpx.AsyncClient, organisation: str, **quotas: int) -> None:
    (await api.put(f"/v1/organisations/{organisation}/quotas", json=quotas)).raise_for_status()


async def test_a_warning_and_an_end_are_told_once_a_day(teller: Teller, api: httpx.AsyncClient) -> None:
    await give(api, teller.organisation, samples_per_day=10)
    await teller.count(7)
    assert await teller.tell() == []
    await teller.count(1, writer=2)
    ((type_, data),) = await teller.tell()
    assert type_ == "quota.warning"
    assert data == {
        "organisation_id": teller.organisation,
        "quota": "samples_per_day",
        "day": "2026-11-24",
        "limit": 10,
        "used": 8,
        "refused": 0,
        "resets_at": "2026-11-25T00:00:00Z",
    }
    assert await teller.tell() == []
    await teller.count(2, 5)
    ((type_, data),) = await teller.tell()
    assert (type_, data["used"], data["refused"]) == ("quota.exceeded", 10, 5)
    await teller.count(0, 5)
    assert await teller.tell() == []


async def test_what_is_used_up_at_once_needs_no_warning(teller: Teller, api: httpx.AsyncClient) -> None:
    await give(api, teller.organisation, samples_per_day=10)
    await teller.count(10)
    assert [type_ for type_, _ in await teller.tell()] == ["quota.exceeded"]
    assert await teller.tell() == []
    # The end of a day is told on the next one, which begins anew.
    late = NOON.replace(hour=23, minute=59)
    await teller.count(9, now=late + timedelta(days=1))
    told = await teller.tell(late + timedelta(days=1, minutes=5))
    assert [(type_, data["day"]) for type_, data in told] == [("quota.warning", "2026-11-25")]


async def test_a_refusal_of_something_else_is_told_too(
    teller: Teller, api: httpx.AsyncClient, tenant: Tenant
) -> None:
    await give(api, teller.organisation, api_keys=1)
    refused = await tenant.client.post("/v1/api-keys", json={"name": "k", "scopes": ["sites:read"]})
    assert refused.json()["code"] == "quota_exceeded"
    ((type_, data),) = await teller.tell(datetime.now(UTC))
    assert (type_, data["quota"], data["limit"], data["used"], data["refused"], data["resets_at"]) == (
        *("quota.exceeded", "api_keys", 1, 1, 1, None),
    )
    assert await teller.tell(datetime.now(UTC)) == []


async def test_a_default_counts_and_an_integrators_quota_is_not_told_to_its_client(
    teller: Teller, api: httpx.AsyncClient
) -> None:
    teller.settings = QuotaSettings(samples_per_day=5)
    made = (await api.post("/v1/organisations", json={"name": "I", "kind": "integrator"})).json()["id"]
    update = "UPDATE organisations SET parent_id = $1 WHERE id = $2"
    await teller.connection.execute(update, made, teller.organisation)
    await give(api, made, samples_per_day=4)
    await teller.count(4, 1)
    await teller.connection.execute(_COUNT, made, NOON.date(), "samples_per_day", 1, 0, 1)
    told = await teller.tell()
    assert sorted(
        (type_, data["organisation_id"] == made, data["limit"], data["used"]) for type_, data in told
    ) == [
        ("quota.exceeded", False, 5, 4),
        ("quota.exceeded", True, 4, 4),
    ]
    teller.settings = QuotaSettings()
    await teller.connection.execute("DELETE FROM quota_notices")
    limits = {data["organisation_id"] == made: data["limit"] for _, data in await teller.tell()}
    assert limits == {True: 4, False: None}


async def test_days_that_are_long_over_are_forgotten(teller: Teller) -> None:
    await teller.count(1, now=NOON - timedelta(days=36))
    await teller.count(1, now=NOON - timedelta(days=35))
    await teller.connection.execute("SET ROLE vigie_maintain")
    await delete_old_usage(teller.connection, NOON)
    days = await teller.connection.fetch("SELECT day FROM organisation_usage")
    assert [day for (day,) in days] == [(NOON - timedelta(days=35)).date()]
