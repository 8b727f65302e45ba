"""The states of endpoints, in SQL: locked, read, written, counted.

Owns `endpoint_states`, and what disables an endpoint without its owner. What a state becomes is decided by
`endpoint_health`. The tokens are the claims' matter (`claims`).

Locks: an endpoint's row comes before its state, and both are taken in the order of the endpoints' ids. Who
records waits for neither: what somebody else has locked is passed over.

Where an endpoint leads, in words, without what gives access to it.
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
    """Say where an endpoint leads.

    More people read that than may read the endpoint: the path of a URL may be a password, and recipients are
    persons.

    Args:
        kind: The endpoint's.
        url: A webhook's.
        target: A channel's, as JSON text.

    Returns:
        Scheme, host and port of a URL; or how many recipients there are, and at which domains; or the kind.
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
"""How many pending deliveries a notice counts at most."""

_FIELDS: Final = EndpointHealth._fields
_MAKE: Final = """
INSERT INTO endpoint_states (endpoint_id)
SELECT id FROM webhook_endpoints WHERE id = ANY ($1::uuid[])
    AND NOT EXISTS (SELECT FROM endpoint_states WHERE endpoint_id = webhook_endpoints.id)
ORDER BY id
FOR KEY SHARE SKIP LOCKED
ON CONFLICT DO NOTHING
"""
# Against the deletion of the endpoint; where it may be disabled, against others who change it too.
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
# One at a time: of what waits behind a Retry-After not all is to go out at once.
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
        id: The endpoint's.
        organisation_id: Whose it is.
        enabled: Whether it is.
        kind: The endpoint's.
        url: A webhook's.
        target: A channel's, as JSON text.
        description: Its owner's words.
        health: Its state.
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
    """How many endpoints are in each state; one that is slowed down is not counted as open too."""

    open: int
    slowed: int
    disabled: int


async def create_missing_states(connection: RawConnection, ids: Collection[UUID]) -> None:
    """Make the states that are missing; nothing for endpoints that are gone, or locked by somebody else."""
    await connection.execute(_MAKE, list(ids))


async def lock_endpoints(
    connection: RawConnection, ids: Collection[UUID], *, whole: bool
) -> list[LockedEndpoint]:
    """Lock endpoints and their states; those that are gone are left out, and those that others have locked.

    Args:
        connection: In a transaction.
        ids: The endpoints'.
        whole: Lock them against changes too: one may have to be disabled.
    """
    rows = await connection.fetch(_LOCK_WHOLE if whole else _LOCK_KEY, list(ids))
    own = len(LockedEndpoint._fields) - 1
    return [LockedEndpoint._make((*row[:own], EndpointHealth._make(row[own:]))) for row in map(tuple, rows)]


async def find_existing_endpoints(connection: RawConnection, ids: Collection[UUID]) -> set[UUID]:
    """Which of some endpoints exist, locked or not."""
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
    verdict: HealthAction,
    now: datetime,
) -> OutboxRecord:
    """Do what a verdict says to an endpoint that the caller has locked; give the notice of it.

    Args:
        connection: In a transaction.
        known: The endpoint.
        health: What its state is now.
        verdict: Warn, or disable and why.
        now: The database's time.
    """
    reason = HealthAction.DISABLE_FAILING if verdict is HealthAction.WARN else verdict
    if verdict is not HealthAction.WARN:
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
    type_ = ENDPOINT_FAILING if verdict is HealthAction.WARN else ENDPOINT_DISABLED
    return OutboxRecord(new_id(), known.organisation_id, None, type_, data, now)


async def reset_failures(session: WriteSession, endpoint_id: UUID) -> None:
    """Forget an endpoint's failures: it was enabled, or leads elsewhere. The caller has locked the endpoint.

    What it was last told stays, and its tokens.
    """
    await session.execute(_RESET, {"endpoint": endpoint_id})


async def half_open_breaker(session: AsyncSession, endpoint_id: UUID) -> None:
    """Have an endpoint of which nothing is attempted for a while attempted now, one delivery at a time.

    Deliveries may be locked after this, not before: the recorder locks states first.
    """
    await session.execute(_ALLOW_ONE, {"endpoint": endpoint_id})


async def count_endpoint_states(connection: RawConnection) -> EndpointStateCounts:
    """Count the endpoints that are attempted rarely, or not at all, without their owners having said so."""
    (row,) = await connection.fetch(_COUNT, list(SLOW_DOWN))
    return EndpointStateCounts(**row)
