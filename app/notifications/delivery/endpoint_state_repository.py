"""Locks, reads, writes and counts the states of endpoints, and disables failing endpoints, in SQL.

`endpoint_health` computes the states. The rate limit's tokens are updated in `delivery_leases`.

Locks: an endpoint's row is locked before its state, both in the order of the endpoints' ids. The recorder
waits for neither: it skips locked rows.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from yarl import URL

from app.notifications.delivery.endpoint_health import SLOW_DOWN, EndpointHealth, HealthAction
from app.notifications.events.event_types import ENDPOINT_DISABLED, ENDPOINT_FAILING
from app.notifications.events.outbox import OutboxRecord
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.ids import new_id


def describe_target(kind: str, url: str | None, target: str | None) -> str | None:
    """Describe an endpoint's target without secrets and personal data.

    The readers of notices may not be allowed to read the endpoint: the path of a URL may be a secret, and
    mail addresses are personal data.

    Args:
        kind: The endpoint's kind.
        url: A webhook's URL.
        target: A channel's target, as JSON text.

    Returns:
        Scheme, host and port of a URL; or the number of recipients and their domains; or the kind.
    """
    if target is None:
        return None if url is None else str(URL(url).origin())
    recipients: list[str] = msgspec.json.decode(target).get("to", [])
    if not recipients:
        return kind
    domains = sorted({recipient.rpartition("@")[2] for recipient in recipients})
    number = len(recipients)
    return f"{number} recipient{'s' if number > 1 else ''} at {', '.join(domains)}"


MOST_COUNTED: Final = 10_000
"""The most pending deliveries that a notice counts."""

_FIELDS: Final = EndpointHealth._fields
_MAKE: Final = """
INSERT INTO endpoint_states (endpoint_id)
SELECT id FROM webhook_endpoints WHERE id = ANY ($1::uuid[])
    AND NOT EXISTS (SELECT FROM endpoint_states WHERE endpoint_id = webhook_endpoints.id)
ORDER BY id
FOR KEY SHARE SKIP LOCKED
ON CONFLICT DO NOTHING
"""
# Prevents the endpoint's deletion; if it may be disabled, concurrent changes too.
_LOCK: Final = """
SELECT endpoint.id, endpoint.organisation_id, endpoint.enabled, endpoint.kind, endpoint.url,
    endpoint.target::text AS target, endpoint.description, {fields}
FROM webhook_endpoints AS endpoint JOIN endpoint_states AS state ON state.endpoint_id = endpoint.id
WHERE endpoint.id = ANY ($1::uuid[])
ORDER BY endpoint.id
FOR {strength} OF endpoint SKIP LOCKED FOR UPDATE OF state SKIP LOCKED
"""
_THERE: Final = "SELECT id FROM webhook_endpoints WHERE id = ANY ($1::uuid[])"
_NAMES: Final = ", ".join(f"state.{field}" for field in _FIELDS)
_LOCK_KEY: Final = _LOCK.format(fields=_NAMES, strength="KEY SHARE")
_LOCK_WHOLE: Final = _LOCK.format(fields=_NAMES, strength="NO KEY UPDATE")
_WRITE: Final = f"""
UPDATE endpoint_states AS state SET ({", ".join(_FIELDS)}) = ({", ".join(f"given.{f}" for f in _FIELDS)})
FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
            $6::timestamptz[], $7::text[], $8::integer[], $9::timestamptz[], $10::integer[])
    AS given (endpoint_id, {", ".join(_FIELDS)})
WHERE state.endpoint_id = given.endpoint_id
"""  # noqa: S608 (names of our own)
_DISABLE: Final = """
UPDATE webhook_endpoints SET enabled = false, disabled_reason = $2, disabled_at = now(), updated_at = now()
WHERE id = $1
"""
_PENDING: Final = """
SELECT count(*) FROM (
    SELECT FROM deliveries WHERE endpoint_id = $1 AND state = 'pending' LIMIT $2
) AS counted
"""
_RESET: Final = text(
    "UPDATE endpoint_states SET consecutive_failures = 0, failing_since = NULL, noticed_at = NULL, "
    "open_until = NULL, slow_step = 0 WHERE endpoint_id = :endpoint"
)
# With a slow step: not all deliveries that wait for a Retry-After are sent immediately.
_ALLOW_ONE: Final = text(
    "UPDATE endpoint_states SET open_until = NULL, slow_step = greatest(slow_step, 1) "
    "WHERE endpoint_id = :endpoint AND open_until > now()"
)
_COUNT: Final = """
SELECT count(*) FILTER (WHERE enabled AND NOT slowed AND open_until > now()) AS open,
    count(*) FILTER (WHERE enabled AND slowed) AS slowed,
    count(*) FILTER (WHERE disabled) AS disabled
FROM (
    SELECT enabled, NOT enabled AND disabled_reason IS NOT NULL AS disabled, open_until,
        coalesce(slow_step, 0) > 0
            AND (consecutive_failures = 0 OR coalesce(last_status = ANY ($1), false)) AS slowed
    FROM webhook_endpoints LEFT JOIN endpoint_states ON endpoint_id = id
) AS endpoint
"""


class LockedEndpoint(NamedTuple):
    """An endpoint with its state, both locked.

    Attributes:
        id: The endpoint's id.
        organisation_id: The endpoint's organisation.
        enabled: Whether the endpoint is enabled.
        kind: The endpoint's kind.
        url: A webhook's URL.
        target: A channel's target, as JSON text.
        description: The client's description.
        health: The endpoint's state.
    """

    id: UUID
    organisation_id: UUID
    enabled: bool
    kind: str
    url: str | None
    target: str | None
    description: str | None
    health: EndpointHealth


class EndpointStateCounts(NamedTuple):
    """Numbers of endpoints by state; a slowed endpoint does not count as open."""

    open: int
    slowed: int
    disabled: int


async def create_missing_states(connection: RawConnection, ids: Collection[UUID]) -> None:
    """Insert missing states; skips endpoints that are deleted or locked."""
    await connection.execute(_MAKE, list(ids))


async def lock_endpoints(
    connection: RawConnection, ids: Collection[UUID], *, whole: bool
) -> list[LockedEndpoint]:
    """Lock endpoints and their states; skips endpoints that are deleted or locked by others.

    Args:
        connection: In a transaction.
        ids: The endpoints' ids.
        whole: Lock out concurrent changes too, as an endpoint may have to be disabled.
    """
    rows = await connection.fetch(_LOCK_WHOLE if whole else _LOCK_KEY, list(ids))
    own = len(LockedEndpoint._fields) - 1
    return [LockedEndpoint._make((*row[:own], EndpointHealth._make(row[own:]))) for row in map(tuple, rows)]


async def find_existing_endpoints(connection: RawConnection, ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of existing endpoints, locked or not."""
    if not ids:
        return set()
    return {row["id"] for row in await connection.fetch(_THERE, list(ids))}


async def write_states(connection: RawConnection, changed: Sequence[tuple[UUID, EndpointHealth]]) -> None:
    """Write states that the caller has locked."""
    if changed:
        columns = zip(*((endpoint_id, *health) for endpoint_id, health in changed), strict=True)
        await connection.execute(_WRITE, *map(list, columns))


async def apply_health_action(
    connection: RawConnection,
    known: LockedEndpoint,
    health: EndpointHealth,
    action: HealthAction,
    now: datetime,
) -> OutboxRecord:
    """Apply an action to an endpoint that the caller has locked; return the notice about it.

    Args:
        connection: In a transaction.
        known: The endpoint.
        health: The endpoint's new state.
        action: A warning, or a disabling with its reason.
        now: The database's time.
    """
    reason = HealthAction.DISABLE_FAILING if action is HealthAction.WARN else action
    if action is not HealthAction.WARN:
        await connection.execute(_DISABLE, known.id, reason.value)
    data: dict[str, Any] = {
        "endpoint_id": known.id,
        "organisation_id": known.organisation_id,
        "kind": known.kind,
        "target": describe_target(known.kind, known.url, known.target),
        "description": known.description,
        "reason": reason.value,
        "failing_since": health.failing_since,
        "last_reason": health.last_reason,
        "last_status": health.last_status,
        "pending": await connection.fetchval(_PENDING, known.id, MOST_COUNTED),
    }
    type_ = ENDPOINT_FAILING if action is HealthAction.WARN else ENDPOINT_DISABLED
    return OutboxRecord(new_id(), known.organisation_id, None, type_, data, now)


async def reset_failures(session: WriteSession, endpoint_id: UUID) -> None:
    """Reset the failures of an endpoint that was enabled or has a new target; the caller has locked it.

    The last failure's reason, and the tokens of the rate limit, stay.
    """
    await session.execute(_RESET, {"endpoint": endpoint_id})


async def half_open_breaker(session: AsyncSession, endpoint_id: UUID) -> None:
    """Allow attempts to an endpoint with an open circuit breaker again, one delivery at a time.

    Lock deliveries only after this call: the recorder locks states first.
    """
    await session.execute(_ALLOW_ONE, {"endpoint": endpoint_id})


async def count_endpoint_states(connection: RawConnection) -> EndpointStateCounts:
    """Count the endpoints that are open, slowed, or disabled by Vigie."""
    (row,) = await connection.fetch(_COUNT, list(SLOW_DOWN))
    return EndpointStateCounts(**row)
