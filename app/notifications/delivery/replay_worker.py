"""Sending many deliveries of an endpoint again, a slice at a time; asked for in REST (`replay_service`).

The dispatcher calls `replay_next_slice` in its rounds: each marks the next slice of the oldest replay that is
running, and what is marked is due like any other delivery. Must not send anything.

What is marked is little at a time, and what is new is claimed before it (`claims`).
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from app.platform.db.database import RawConnection

MAX_DUE_DELIVERIES: Final = 500
"""Nothing is added to so many deliveries of an endpoint that are due."""

_RATED_S: Final = 60  # nor to what keeps an endpoint with a rate busy for so many seconds
_LOOKED_AT: Final = 10_000  # in one step: others wait meanwhile

_IS_RUNNING: Final = "SELECT EXISTS (SELECT FROM delivery_replays WHERE state = 'running')"
# Whose endpoint has enough to do already waits: claims look through what is marked for what is new.
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
# `looked` is a stretch of an endpoint's deliveries in the order of their ids, by an index; of those that
# failed there is one of their own. What is leased is being sent already: it is left out.
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
# What is locked is being recorded, removed or sent again at this moment: nobody is waited for.
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
    """Make the next slice of a running replay due: of the oldest whose endpoint has not enough to do.

    Args:
        connection: Outside a transaction. The step has one of its own.
        slice_: The most deliveries that are marked.

    Returns:
        Whether there is more to do at once.
    """
    # Every round asks, and hardly ever is there one: without a transaction that is one statement.
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
        *(replay["endpoint_id"], replay["after_id"], _LOOKED_AT),
        *(replay["states"], replay["since"], replay["until"], replay["types"]),
    )
    meant = [row["id"] for row in looked if row["meant"]]
    after_id = looked[-1]["id"] if looked else None
    ended = len(looked) < _LOOKED_AT
    if len(meant) > slice_:
        meant = meant[:slice_]
        after_id, ended = meant[-1], False
    locked = [row["id"] for row in await connection.fetch(_LOCK, meant, replay["states"])]
    missed = meant[len(_common(meant, locked)) :]
    if missed:
        # Not beyond what somebody else holds: the next step begins there.
        locked = meant[: -len(missed)]
        after_id, ended = (locked[-1] if locked else None), False
    await connection.execute(_MARK, locked, replay["id"])
    await connection.execute(_ADVANCE, replay["id"], len(locked), after_id, ended)
    return bool(locked) or not missed


def _common(meant: Sequence[UUID], locked: Sequence[UUID]) -> Sequence[UUID]:
    """The beginning that both have in common."""
    for place, (one, other) in enumerate(zip(meant, locked, strict=False)):
        if one != other:
            return meant[:place]
    return locked
