"""Leases due deliveries to this process and releases the leases, in SQL.

The database's clock decides what is due and which leases have expired, so a process with a wrong clock does
no harm. Outcomes are written by `outcome_recorder`.

- A claim reads the first due deliveries of each endpoint, up to the endpoint's concurrency limit.
- The limit counts per process, so that the leases of a dead process do not block the others. It counts the
  leases of all processes only for an endpoint with its own `concurrency`, or one attempted one at a time.
- Organisations are served round-robin: the first due delivery of each comes before the second of any. Each
  has a maximum share of the leases, however many endpoints it has.
- A claim stops at a number of bytes.
- A claim reads `_LATE` more rows than it may lease: a delivery may be written after another one that is due
  later was leased.
- Deliveries of replays come after new ones.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.notifications.delivery.transport_types import LeasedDelivery
from app.notifications.settings import WebhookSettings
from app.platform.db.database import RawConnection

PREFETCH_FACTOR: Final = 8
"""Leases of a fast endpoint per concurrent attempt, so that it does not wait for the next claim."""

MOST_BYTES: Final = 64 * 2**20
"""The most bytes of bodies that a process leases; a single larger delivery is leased all the same."""

_OF_OWNER: Final = 2  # leases of an organisation per concurrent attempt of the process
_SUSPECTS_OF_OWNER: Final = 4  # an organisation's suspects get at most this fraction (1/4) of all slots
_LATE: Final = 64
_REPLAYED: Final = 600  # more than the deliveries of an endpoint that replays make due at a time

# `waiting` skips through the index from one endpoint with pending deliveries to the next, so its cost depends
# neither on the number of endpoints nor on that of their deliveries. `room` is what each of these may lease.
_ROOM: Final = f"""
RECURSIVE waiting AS (
    (
        SELECT endpoint_id, due_at FROM deliveries WHERE state = 'pending'
        ORDER BY endpoint_id, due_at, id LIMIT 1
    )
    UNION ALL
    SELECT next.endpoint_id, next.due_at FROM waiting CROSS JOIN LATERAL (
        SELECT endpoint_id, due_at FROM deliveries
        WHERE state = 'pending' AND endpoint_id > waiting.endpoint_id
        ORDER BY endpoint_id, due_at, id LIMIT 1
    ) AS next
), replaying AS (
    SELECT endpoint_id FROM delivery_replays WHERE state = 'running'
    UNION SELECT endpoint_id FROM delivery_replays WHERE finished_at > now() - interval '1 hour'
), known AS (
    SELECT endpoint.id, endpoint.organisation_id AS owner, endpoint.rate_per_s AS rate,
        greatest(endpoint.rate_per_s / 10, 1) AS burst,
        state.endpoint_id IS NULL AS new, state.open_until, state.tokens, state.tokens_at,
        state.last_failure_at, replaying.endpoint_id IS NOT NULL AS replaying,
        coalesce(state.consecutive_failures > 0 OR state.last_success_at IS NULL, true) AS suspect,
        CASE WHEN state.consecutive_failures >= $6 OR state.slow_step > 0 THEN 1
            ELSE least(endpoint.concurrency, $1) END AS places,
        endpoint.concurrency IS NOT NULL OR state.consecutive_failures >= $6 OR state.slow_step > 0
            AS strict,
        here.quick AND endpoint.concurrency IS NULL AND endpoint.rate_per_s IS NULL AS deep,
        coalesce(here.count, 0) AS count,
        CASE WHEN kinds.free IS NOT NULL THEN endpoint.kind
            WHEN state.consecutive_failures = 0 AND state.last_success_at IS NOT NULL THEN NULL
            ELSE 'suspects' END AS share,
        coalesce(kinds.free, $7) AS most
    FROM waiting JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
    LEFT JOIN endpoint_states AS state ON state.endpoint_id = endpoint.id
    LEFT JOIN replaying ON replaying.endpoint_id = endpoint.id
    LEFT JOIN unnest($2::uuid[], $3::integer[], $4::boolean[], $5::boolean[])
        AS here (id, count, quick, held) ON here.id = endpoint.id
    LEFT JOIN unnest($8::text[], $9::integer[]) AS kinds (kind, free) ON kinds.kind = endpoint.kind
    WHERE endpoint.enabled AND here.held IS NOT TRUE
), room AS (
    SELECT known.*, limits.depth, greatest(limits.depth - known.count, 0) AS free,
        limits.depth + CASE WHEN strict THEN {_LATE} ELSE 0 END
            + CASE WHEN replaying THEN {_REPLAYED} ELSE 0 END AS looked_at
    FROM known CROSS JOIN LATERAL (
        SELECT places * CASE WHEN deep AND NOT suspect AND places > 1 THEN {PREFETCH_FACTOR} ELSE 1 END AS
        depth
    ) AS limits
    WHERE known.share IS NULL OR known.most > 0
)
"""  # noqa: S608 (a number of ours)
# If the deliveries of an alert are ordered, a later one waits while an earlier one is pending. The order is
# that of the outbox: the ids of two processes have two clocks.
_IN_ORDER: Final = """
(alert_id IS NULL OR NOT EXISTS (
    SELECT FROM deliveries AS earlier WHERE earlier.state = 'pending'
        AND earlier.endpoint_id = deliveries.endpoint_id AND earlier.alert_id = deliveries.alert_id
        AND (coalesce(earlier.position, 0), earlier.id) < (coalesce(deliveries.position, 0), deliveries.id)
))
"""
# The token bucket of a rate limit. A time slightly in the future was written by a concurrent transaction. If
# it is further in the future, the clock was set back: the remaining tokens are unknown, so the bucket is
# full.
_AVAILABLE: Final = """
least(room.burst, CASE WHEN state.tokens_at <= now() + interval '10 seconds'
    THEN state.tokens + room.rate * greatest(extract(epoch FROM now() - state.tokens_at)::float8, 0)
    ELSE room.burst END)
"""
# Suspects are sorted by their last attempt, oldest first: endpoints that never answer have the oldest
# deliveries, and would always be first by due time.
# The conditions are repeated in `locked`, to check them again on the locked rows. They are in a CASE, so that
# only the primary key finds these rows: planned while few deliveries were pending, the statement would
# compare each due delivery of a later backlog with each chosen one.
# An endpoint is skipped this time if its row of tokens is locked (by another claim or recorder) or missing. A
# missing row is inserted.
_CLAIM: Final = f"""
WITH {_ROOM}, owned AS (
    SELECT endpoint.organisation_id AS owner, sum(here.count) AS count, sum(here.count) FILTER (
        WHERE state.last_success_at IS NULL OR state.consecutive_failures > 0
    ) AS suspects
    FROM unnest($2::uuid[], $3::integer[]) AS here (id, count)
    JOIN webhook_endpoints AS endpoint ON endpoint.id = here.id
    LEFT JOIN endpoint_states AS state ON state.endpoint_id = endpoint.id
    GROUP BY endpoint.organisation_id
), budget AS (
    SELECT state.endpoint_id, {_AVAILABLE} AS tokens
    FROM endpoint_states AS state JOIN room ON room.id = state.endpoint_id
    WHERE room.rate IS NOT NULL AND room.free > 0
    FOR UPDATE OF state SKIP LOCKED
), made AS (
    INSERT INTO endpoint_states (endpoint_id) SELECT id FROM room WHERE rate IS NOT NULL AND new
    ON CONFLICT DO NOTHING
), offered AS (
    SELECT due.id, due.due_at, due.size, room.owner, room.count + due.nth AS place, room.share, room.most,
        CASE WHEN room.suspect THEN room.last_failure_at END AS tried_at
    FROM room LEFT JOIN budget ON budget.endpoint_id = room.id CROSS JOIN LATERAL (
        SELECT id, due_at, taken, size,
            row_number() OVER (PARTITION BY taken ORDER BY replay_id IS NOT NULL, due_at, id) AS nth,
            count(*) FILTER (WHERE taken) OVER () AS others
        FROM (
            SELECT id, due_at, replay_id, octet_length(body) AS size,
                coalesce(leased_until >= now(), false) AS taken
            FROM deliveries WHERE endpoint_id = room.id AND state = 'pending' AND due_at <= now()
                AND (room.strict OR leased_until IS NULL OR leased_until < now())
                AND {_IN_ORDER}
            ORDER BY due_at, id LIMIT room.looked_at
        ) AS first
    ) AS due
    WHERE room.free > 0 AND (room.open_until IS NULL OR room.open_until <= now()) AND NOT due.taken
        AND due.nth <= least(room.free, room.depth - due.others)
        AND (room.rate IS NULL OR due.nth <= floor(coalesce(budget.tokens, 0)))
), turns AS (
    SELECT id, due_at, size, tried_at, share, most,
        coalesce(owned.count, 0) + row_number() OVER (
            PARTITION BY owner ORDER BY place, tried_at NULLS FIRST, due_at, id
        ) AS turn,
        coalesce(owned.suspects, 0) + row_number() OVER (
            PARTITION BY owner, share ORDER BY place, tried_at NULLS FIRST, due_at, id
        ) AS of_share
    FROM offered LEFT JOIN owned USING (owner)
), ranked AS (
    SELECT id, size, turn, share, most, row_number() OVER (
        PARTITION BY share ORDER BY turn, tried_at NULLS FIRST, due_at, id
    ) AS among
    FROM turns
    WHERE turn <= $12 AND (share IS DISTINCT FROM 'suspects' OR of_share <= $13)
), chosen AS (
    SELECT id FROM (
        SELECT id, row_number() OVER sorted AS nth, sum(size) OVER sorted - size AS before
        FROM ranked WHERE share IS NULL OR among <= most
        WINDOW sorted AS (ORDER BY turn, among, share NULLS FIRST ROWS UNBOUNDED PRECEDING)
    ) AS sorted
    WHERE nth <= $10 AND before < $14
), locked AS (
    SELECT delivery.id
    FROM chosen CROSS JOIN LATERAL (
        SELECT id FROM deliveries WHERE id = chosen.id AND CASE WHEN state = 'pending' THEN due_at <= now()
            AND (leased_until IS NULL OR leased_until < now()) ELSE false END
        FOR UPDATE SKIP LOCKED
    ) AS delivery
), leased AS (
    UPDATE deliveries AS delivery SET leased_until = now() + make_interval(secs => $11)
    FROM locked WHERE delivery.id = locked.id
    RETURNING delivery.id, delivery.organisation_id, delivery.endpoint_id, delivery.event_id,
        delivery.site_id, delivery.type, delivery.format, delivery.body, delivery.attempt_count,
        delivery.created_at, delivery.leased_until, delivery.due_at, delivery.traceparent
), spent AS (
    UPDATE endpoint_states AS state SET tokens = budget.tokens - taken.count, tokens_at = now()
    FROM budget JOIN (SELECT endpoint_id, count(*) AS count FROM leased GROUP BY endpoint_id) AS taken
        ON taken.endpoint_id = budget.endpoint_id
    WHERE state.endpoint_id = budget.endpoint_id
)
SELECT leased.id, leased.organisation_id, leased.endpoint_id, leased.event_id, leased.site_id, leased.type,
    leased.format, leased.body, leased.attempt_count, leased.created_at, leased.leased_until, now() AS now,
    endpoint.kind, endpoint.url, endpoint.target::text AS target, endpoint.secret,
    endpoint.former_secrets::text AS former_secrets, endpoint.headers, endpoint.credentials,
    leased.traceparent, room.places, room.suspect
FROM leased JOIN room ON room.id = leased.endpoint_id
JOIN webhook_endpoints AS endpoint ON endpoint.id = leased.endpoint_id
ORDER BY leased.due_at, leased.id
"""  # noqa: S608 (our own parts)
# The time when a delivery can next be leased. Deliveries that wait for a slot are not counted: the end of an
# attempt wakes the dispatcher.
_NEXT: Final = f"""
WITH {_ROOM}, ready AS (
    SELECT greatest(first.at, room.open_until, CASE WHEN room.rate IS NOT NULL AND NOT room.new
        THEN now() + make_interval(secs => greatest(1 - {_AVAILABLE}, 0) / room.rate) END) AS at
    FROM room LEFT JOIN endpoint_states AS state ON state.endpoint_id = room.id CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) FILTER (WHERE taken) < room.depth THEN min(due_at) FILTER (WHERE NOT taken)
            ELSE min(leased_until) FILTER (WHERE taken) END AS at
        FROM (
            SELECT due_at, leased_until, coalesce(leased_until >= now(), false) AS taken FROM deliveries
            WHERE endpoint_id = room.id AND state = 'pending'
                AND (room.strict OR leased_until IS NULL OR leased_until < now())
                AND {_IN_ORDER}
            ORDER BY due_at, id LIMIT room.looked_at
        ) AS delivery
    ) AS first
    WHERE room.free > 0
)
SELECT extract(epoch FROM least(
    (SELECT min(at) FROM ready),
    (SELECT min(due_at) FROM delivery_groups WHERE due_at > now())
) - now())::float8
"""  # noqa: S608 (our own parts)
_RELEASE: Final = """
UPDATE deliveries AS delivery SET leased_until = NULL
FROM unnest($1::uuid[], $2::timestamptz[]) AS held (id, leased_until)
WHERE delivery.id = held.id AND delivery.leased_until = held.leased_until
"""
_PENDING: Final = "SELECT count(*) FROM deliveries WHERE state = 'pending'"


class EndpointLoad(NamedTuple):
    """The leases that this process has of an endpoint.

    Attributes:
        endpoint_id: The endpoint's id.
        leases: The number of leases.
        quick: The endpoint answers fast: it may have more leases than concurrent attempts.
        held: An attempt takes long: no more deliveries are leased.
    """

    endpoint_id: UUID
    leases: int
    quick: bool = False
    held: bool = False


class KindCapacity(NamedTuple):
    """The free capacity of a kind of endpoint that has a limit of its own.

    Attributes:
        kind: The kind of endpoint.
        free: The number of leases that this process may still take.
    """

    kind: str
    free: int


class DeliveryLease(NamedTuple):
    """A leased delivery, with its endpoint's concurrency limit.

    Attributes:
        claimed: The delivery.
        concurrency: The most concurrent attempts of the endpoint.
        suspect: The endpoint's last attempt failed, or none has succeeded yet.
    """

    claimed: LeasedDelivery
    concurrency: int
    suspect: bool


async def lease_due_deliveries(
    connection: RawConnection,
    settings: WebhookSettings,
    *,
    limit: int,
    suspects: int,
    busy: Collection[EndpointLoad] = (),
    kinds: Collection[KindCapacity] = (),
    most_bytes: int = MOST_BYTES,
) -> list[DeliveryLease]:
    """Lease due deliveries round-robin: the first of each organisation and endpoint before any second one.

    Among healthy endpoints the longest due comes first, among suspects the one with the oldest last attempt;
    the two alternate.

    Args:
        connection: Outside a transaction.
        settings: Shares, limits and the duration of leases.
        limit: The most deliveries to lease.
        suspects: The most deliveries of suspect endpoints, without the kinds that have a limit of their own.
        busy: The endpoints of which this process has leases.
        kinds: The free capacity of kinds with a limit of their own.
        most_bytes: Bytes of bodies, after which no more deliveries are leased.
    """
    of_owner = settings.concurrency * _OF_OWNER
    suspects_of_owner = max(1, settings.concurrency // _SUSPECTS_OF_OWNER)
    limits = _limit_parameters(settings, busy, suspects, kinds)
    rows = await connection.fetch(
        _CLAIM, *limits, limit, settings.lease_s, of_owner, suspects_of_owner, most_bytes
    )
    return [DeliveryLease(_read_delivery(row), row["places"], row["suspect"]) for row in rows]


def _limit_parameters(
    settings: WebhookSettings, busy: Collection[EndpointLoad], suspects: int, kinds: Collection[KindCapacity]
) -> tuple[Any, ...]:
    ids, leases, quick, held = map(list, zip(*busy, strict=True)) if busy else ([], [], [], [])
    names, free = map(list, zip(*kinds, strict=True)) if kinds else ([], [])
    share = settings.endpoint_concurrency
    return share, ids, leases, quick, held, settings.breaker_failures, suspects, names, free


def _read_delivery(row: Any) -> LeasedDelivery:  # noqa: ANN401 (a row)
    *plain, target, secret, former, headers, credentials, traceparent, _, _ = row
    former = [] if former == "[]" else msgspec.json.decode(former)
    decoded_target = None if target is None else msgspec.json.decode(target)
    return LeasedDelivery._make((*plain, decoded_target, secret, former, headers, credentials, traceparent))


async def compute_next_due_s(
    connection: RawConnection,
    settings: WebhookSettings,
    *,
    suspects: int = 1,
    busy: Collection[EndpointLoad] = (),
    kinds: Collection[KindCapacity] = (),
) -> float | None:
    """Return the seconds until a delivery can be leased or a waiting group is due.

    Args:
        connection: Outside a transaction.
        settings: Shares and limits.
        suspects: The most deliveries of suspect endpoints.
        busy: The endpoints of which this process has leases.
        kinds: The free capacity of kinds with a limit of their own.

    Returns:
        None if no delivery waits for its due time; 0 or less if one can be leased now.
    """
    limits = _limit_parameters(settings, busy, suspects, kinds)
    seconds: float | None = await connection.fetchval(_NEXT, *limits)
    return seconds


async def release_leases(connection: RawConnection, claims: Sequence[LeasedDelivery]) -> None:
    """Release leases: any process may lease the deliveries again immediately."""
    await connection.execute(
        _RELEASE, [claimed.id for claimed in claims], [claimed.leased_until for claimed in claims]
    )


async def count_pending_deliveries(connection: RawConnection) -> int:
    """Count pending deliveries."""
    count: int = await connection.fetchval(_PENDING)
    return count
