"""Channels, deliveries and attempts straight in the database, as they were at times that a test chooses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.platform.kernel.ids import first_id, new_id


def ago(**span: float) -> datetime:
    """So long ago."""
    return datetime.now(UTC) - timedelta(**span)


def id_at(time: datetime) -> UUID:
    """An id of that time, unlike the others of it."""
    return UUID(int=first_id(time).int + uuid4().int % 2**72)


async def add_channel(
    connection: asyncpg.Connection, organisation: UUID, *, kind: str = "email", enabled: bool = True
) -> UUID:
    """Make a channel."""
    channel = new_id()
    target = {"to": ["a@example.com"], "language": "en", "notices": True} if kind == "email" else {}
    await connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, kind, target, events, enabled, created_at, "
        "updated_at) VALUES ($1, $2, $3, $4::text::jsonb, '{*}', $5, now(), now())",
        *(channel, organisation, kind, json.dumps(target), enabled),
    )
    return channel


async def add_delivery(
    connection: asyncpg.Connection,
    organisation: UUID,
    endpoint: UUID,
    *,
    state: str = "delivered",
    created_at: datetime | None = None,
    made_at: datetime | None = None,
    **columns: Any,  # noqa: ANN401 (values of columns)
) -> UUID:
    """Make a delivery; it was made when its event happened, unless `made_at` says otherwise."""
    created = created_at or datetime.now(UTC)
    row = {
        "id": id_at(made_at or created),
        "organisation_id": organisation,
        "endpoint_id": endpoint,
        "event_id": uuid4(),
        "type": "alert.firing",
        "body": json.dumps({"type": "alert.firing", "timestamp": "", "data": {}}).encode(),
        "state": state,
        "attempt_count": 1,
        "due_at": created if state == "pending" else None,
        "created_at": created,
        **columns,
    }
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    await connection.execute(
        f"INSERT INTO deliveries ({', '.join(row)}) VALUES ({places})",  # noqa: S608 (names of ours)
        *row.values(),
    )
    return UUID(str(row["id"]))


async def add_attempt(
    connection: asyncpg.Connection,
    endpoint: UUID,
    delivery: UUID,
    *,
    reason: str = "delivered",
    number: int = 1,
    started_at: datetime | None = None,
    duration_ms: float = 10.0,
    status: int | None = 204,
) -> None:
    """Make an attempt of a delivery."""
    await connection.execute(
        "INSERT INTO delivery_attempts (id, delivery_id, endpoint_id, number, started_at, duration_ms, "
        "status, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(new_id(), delivery, endpoint, number, started_at or datetime.now(UTC), duration_ms, status, reason),
    )
