"""Marks past deliveries as due again for the replays that are running, a limited number at a time.

`api.replay_service` creates replays. The dispatcher calls `replay_next_slice` in its rounds: it marks the
next slice of the oldest running replay, and the marked deliveries are due like any other. Slices are small,
and `delivery_leases` leases new deliveries first.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from app.platform.db.database import RawConnection

MAX_DUE_DELIVERIES: Final = 500
"""The most due deliveries of an endpoint; beyond them a replay adds no more."""

_RATED_S: Final = 60  # with a rate limit, the most due deliveries are those of this many seconds
_SCANNED: Final = 10_000  # rows of one step; other work of the dispatcher waits for it

_IS_RUNNING: Final = "SELECT EXISTS (SELECT FROM delivery_replays WHERE state = 'running')"
# A replay waits while its endpoint has many due deliveries: claims scan them for new ones.
_OLDEST: Final = f"""
SELECT asked.id, asked.endpoint_id, since, until, states, types, after_id,
    enough.count - waiting.count AS room
FROM delivery_replays AS asked JOIN webhook_endpoints AS endpoint ON endpoint.id = asked.endpoint_id
CROSS JOIN LATERAL (
    SELECT least({MAX_DUE_DELIVERIES}, ceil(endpoint.rate_per_s * {_RATED_S}))::integer AS count
) AS enough CROSS JOIN LATERAL (
    SELECT count(*)::integer AS count FROM (
        SELECT FROM deliveries AS due
        WHERE due.endpoint_id = asked.endpoint_id AND due.state = 'pending' AND due.due_at <= now()
        LIMIT enough.count
    ) AS first
) AS waiting
WHERE asked.state = 'running' AND waiting.count < enough.count
ORDER BY asked.id LIMIT 1 FOR UPDATE OF asked SKIP LOCKED
"""  # noqa: S608 (numbers of ours)
# `looked` is a range of an endpoint's deliveries in id order, by an index; failed deliveries have their own
# index. Leased deliveries are left out: they are being sent.
_CHOOSE: Final = """
WITH looked AS MATERIALIZED (
    SELECT id, state, type, created_at, leased_until FROM deliveries
    WHERE endpoint_id = $1 AND id > $2 {failed} ORDER BY id LIMIT $3
)
SELECT id, state = ANY ($4) AND created_at >= $5 AND created_at < $6
    AND ($7::text[] IS NULL OR type = ANY ($7))
    AND NOT (state = 'pending' AND coalesce(leased_until > now(), false)) AS meant
FROM looked ORDER BY id
"""
_ALL: Final = _CHOOSE.format(failed="")
_FAILED: Final = _CHOOSE.format(failed="AND state = 'failed'")
# Locked rows are being recorded, deleted or replayed: they are skipped.
_LOCK: Final = """
SELECT id FROM deliveries WHERE id = ANY ($1) AND state = ANY ($2)
    AND NOT (state = 'pending' AND coalesce(leased_until > now(), false))
ORDER BY id FOR UPDATE SKIP LOCKED
"""
_MARK: Final = """
UPDATE deliveries SET state = 'pending', attempt_count = 0, due_at = now(), leased_until = NULL,
    delivered_at = NULL, replay_id = $2
WHERE id = ANY ($1)
"""
_ADVANCE: Final = """
UPDATE delivery_replays SET replayed = replayed + $2, after_id = coalesce($3, after_id),
    state = CASE WHEN $4 THEN 'done' ELSE state END,
    finished_at = CASE WHEN $4 THEN now() ELSE finished_at END
WHERE id = $1
"""


async def replay_next_slice(connection: RawConnection, *, slice_: int = MAX_DUE_DELIVERIES) -> bool:
    """Make the next slice of the oldest running replay due whose endpoint has few due deliveries.

    Args:
        connection: Outside a transaction; the step opens its own.
        slice_: The most deliveries to mark.

    Returns:
        Whether to call again immediately.
    """
    # Every round checks this, and a replay is rare: without a transaction it is one statement.
    if not await connection.fetchval(_IS_RUNNING):
        return False
    async with connection.transaction():
        replay = await connection.fetchrow(_OLDEST)
        if replay is None:
            return False
        return await _step(connection, replay, min(slice_, replay["room"]))


async def _step(connection: RawConnection, replay: Any, slice_: int) -> bool:  # noqa: ANN401 (a row)
    looked = await connection.fetch(
        _FAILED if replay["states"] == ["failed"] else _ALL,
        *(replay["endpoint_id"], replay["after_id"], _SCANNED),
        *(replay["states"], replay["since"], replay["until"], replay["types"]),
    )
    meant = [row["id"] for row in looked if row["meant"]]
    after_id = looked[-1]["id"] if looked else None
    ended = len(looked) < _SCANNED
    if len(meant) > slice_:
        meant = meant[:slice_]
        after_id, ended = meant[-1], False
    locked = [row["id"] for row in await connection.fetch(_LOCK, meant, replay["states"])]
    missed = meant[len(_common_prefix(meant, locked)) :]
    if missed:
        # Stop before the first locked row: the next step begins there.
        locked = meant[: -len(missed)]
        after_id, ended = (locked[-1] if locked else None), False
    await connection.execute(_MARK, locked, replay["id"])
    await connection.execute(_ADVANCE, replay["id"], len(locked), after_id, ended)
    return bool(locked) or not missed


def _common_prefix(meant: Sequence[UUID], locked: Sequence[UUID]) -> Sequence[UUID]:
    """Return the common prefix."""
    for index, (one, other) in enumerate(zip(meant, locked, strict=False)):
        if one != other:
            return meant[:index]
    return locked
