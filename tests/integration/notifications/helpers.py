"""Endpoints and events straight in the database, and a dispatcher beside the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.notifications.delivery import dispatcher
from app.notifications.delivery.transport_types import LeasedDelivery
from app.notifications.events.outbox import OutboxRecord, enqueue_events, wake_dispatcher
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.platform.runtime.stored_settings import InstallationSettings
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from tests.roles import working_as

SITE, RULE = uuid4(), uuid4()
"""Where `alert_event` says that its alerts are, and of which rule."""


def with_webhooks(settings: VigieSettings, **changes: Any) -> VigieSettings:  # noqa: ANN401 (whatever a setting holds)
    usual = {
        "allow_private": True,
        # Long: a machine that pauses makes no attempt fail, and loses no lease.
        "connect_timeout_s": 10.0,
        "total_timeout_s": 20.0,
        "lease_s": 30.0,
        # Long: what happens soon was woken, not polled.
        "poll_s": 30.0,
        "jitter": 0.0,
        "schedule_s": [0, 0.05, 0.05, 0.05],
    }
    webhooks = type(settings.webhooks).model_validate({**usual, **changes})
    return settings.model_copy(update={"webhooks": webhooks})


async def add_organisation(connection: asyncpg.Connection) -> UUID:
    organisation = new_id()
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'Tests', now(), now())",
        organisation,
    )
    return organisation


async def add_endpoint(
    connection: asyncpg.Connection,
    organisation: UUID,
    url: str | None,
    *,
    events: Sequence[str] = ("*",),
    site_ids: Sequence[UUID] | None = None,
    enabled: bool = True,
    grouping: dict[str, Any] | None = None,
    kind: str = "webhook",
    format_: str = "native",
    target: dict[str, Any] | None = None,
    min_severity: str | None = None,
) -> tuple[UUID, str]:
    """Make an endpoint; gives its id and its secret."""
    endpoint, secret = new_id(), generate_secret()
    await connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, url, events, site_ids, secret, enabled, "
        "grouping, kind, format, target, min_severity, created_at, updated_at) VALUES "
        "($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11::text::jsonb, $12, now(), now())",
        *(endpoint, organisation, url, list(events), site_ids, secret, enabled),
        None if grouping is None else json.dumps(grouping),
        *(kind, format_, None if target is None else json.dumps(target), min_severity),
    )
    return endpoint, secret


def claim_of(url: str, secret: str, body: bytes, **changes: Any) -> LeasedDelivery:  # noqa: ANN401 (fields of a claim)
    """A claim as the database would give it; its secret may be in clear."""
    now = datetime.now(UTC)
    usual: dict[str, Any] = {
        "id": new_id(),
        "organisation_id": new_id(),
        "endpoint_id": new_id(),
        "event_id": new_id(),
        "site_id": None,
        "type": "alert.firing",
        "format": "native",
        "body": body,
        "attempt_count": 0,
        "created_at": now,
        "leased_until": now,
        "now": now,
        "kind": "webhook",
        "url": url,
        "target": None,
        "secret": secret,
        "former_secrets": [],
        "headers": None,
    }
    return LeasedDelivery(**{**usual, **changes})


def event(organisation: UUID, *, type_: str = "alert.firing", site_id: UUID | None = None) -> OutboxRecord:
    payload = {"alert_id": uuid4(), "box": "box-0001", "value": 31.2, "started_at": datetime.now(UTC)}
    return OutboxRecord(new_id(), organisation, site_id, type_, payload, datetime.now(UTC))


def alert_event(
    organisation: UUID,
    *,
    type_: str = "alert.firing",
    alert_id: UUID | None = None,
    sequence: int = 1,
    **data: Any,  # noqa: ANN401 (whatever an alert's data holds)
) -> OutboxRecord:
    """An event with the fields of an alert's data that grouping goes by; the others stay as they are."""
    usual = {
        "alert_id": alert_id or uuid4(),
        "rule_id": RULE,
        "site_id": SITE,
        "box": "box-0001",
        "severity": "warning",
        "state": "resolved" if type_ == "alert.resolved" else "firing",
        "sequence": sequence,
        "started_at": datetime.now(UTC),
    }
    payload = {**usual, **data}
    return OutboxRecord(new_id(), organisation, payload["site_id"], type_, payload, datetime.now(UTC))


async def emit(connection: asyncpg.Connection, *records: OutboxRecord) -> None:
    """Commit events, then wake the dispatcher."""
    async with connection.transaction():
        await enqueue_events(connection, records)
    await wake_dispatcher(connection)


@asynccontextmanager
async def dispatching(settings: VigieSettings, database: Database) -> AsyncIterator[asyncio.Event]:
    """Run a dispatcher under its role; gives the event that stops it."""
    stop = asyncio.Event()
    async with working_as("deliver", database) as opened:
        task = asyncio.create_task(
            dispatcher.run_dispatcher(
                settings,
                settings.webhooks,
                opened,
                stop,
                InstallationSettings(settings, SecretSealer.of(settings.encryption)),
            )
        )
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(60):
                await task


async def until[T](ask: Callable[[], Coroutine[Any, Any, T]], patience: float = 60.0) -> T:
    """Ask until the answer is true, and give it."""
    answer = await ask()
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while not answer:
                await asyncio.sleep(0.02)
                answer = await ask()
    assert answer
    return answer


async def states(connection: asyncpg.Connection) -> dict[str, int]:
    """How many deliveries are in each state."""
    rows = await connection.fetch("SELECT state, count(*) AS count FROM deliveries GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


async def attempts(connection: asyncpg.Connection) -> list[tuple[int, str, int | None]]:
    rows = await connection.fetch(
        "SELECT number, reason, status FROM delivery_attempts ORDER BY delivery_id, number"
    )
    return [(row["number"], row["reason"], row["status"]) for row in rows]
