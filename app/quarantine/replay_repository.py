"""Entries of the quarantine on their way back in: who may replay which, and what came of it.

Owns the lock on an entry, and its mark. What an entry holds is ingest's to judge.

Whose an entry is was settled when it came: that of the box, or of the HTTP caller. What came by MQTT under an
id that nobody had is nobody's. It may be replayed by the organisation that has a box of this id now, unless
the id was ever another organisation's: then a box that was given away may well be who goes on sending. To be
read it is for the platform's administrators alone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    TextClause,
    Uuid,
    and_,
    bindparam,
    func,
    not_,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import RawConnection
from app.platform.kernel.tenant_scope import TenantScope
from app.quarantine.entry_writer import MAX_PAYLOAD_BYTES, truncate_detail
from app.quarantine.queries import QuarantineFilter
from app.timeseries.storage.models import QuarantineEntry

REPLAYABLE_COUNT_LIMIT: Final = 10_000
"""What is left is counted up to here: whoever has more wants to know no better."""

# Nobody's, and the caller's to replay: see above. `{me}` are the caller's organisations, `{here}` its sites.
_UNOWNED: Final = """
quarantine.organisation_id IS NULL AND quarantine.door = 'mqtt'
AND EXISTS (
    SELECT FROM boxes b
    WHERE b.id = quarantine.box AND b.deleted_at IS NULL AND b.organisation_id = ANY ({me})
        AND ({here} IS NULL OR b.site_id = ANY ({here}))
)
AND NOT EXISTS (SELECT FROM former_boxes f WHERE f.box = quarantine.box AND f.organisation_id <> ALL ({me}))
"""
# The entry stays under lock until the transaction ends: two replays of it cannot both store what it holds.
_LOCK: Final = f"""
SELECT quarantine.id, received_at, organisation_id, o.platform, box, door, topic, payload, payload_bytes,
       replayed_at, outcome
FROM quarantine LEFT JOIN organisations o ON o.id = organisation_id
WHERE quarantine.id = $1 AND ($2::uuid[] IS NULL OR (
    organisation_id = ANY ($2)
    AND ($3::uuid[] IS NULL OR EXISTS (
        SELECT FROM boxes b WHERE b.id = quarantine.box AND b.deleted_at IS NULL AND b.site_id = ANY ($3)
    ))
) OR ({_UNOWNED.format(me="$2", here="$3::uuid[]")}))
FOR UPDATE OF quarantine
"""  # noqa: S608 (constants)
_MARK: Final = """
UPDATE quarantine SET
    attempts = attempts + 1,
    attempted_at = $2::timestamptz,
    replayed_at = CASE WHEN $3::text IS NULL THEN $2::timestamptz END,
    code = coalesce($3::text, code),
    detail = coalesce($4::text, detail),
    outcome = $5::jsonb,
    payload = CASE WHEN $6 THEN ''::bytea ELSE payload END,
    payload_bytes = CASE WHEN $6 THEN 0 ELSE payload_bytes END
WHERE id = $1
"""
# A status says how a box is, not how it was. Where it has told something since, or was heard, the old word is
# no news; nor is a configuration where a newer one was reported.
_NEWER_STATUS: Final = """
SELECT b.id FROM boxes b LEFT JOIN box_states s ON s.box_key = b.key
WHERE b.id = ANY ($1::text[]) AND b.deleted_at IS NULL AND b.state IS NOT NULL
    AND (b.state_at > $2 OR s.last_sample_at > $2)
"""
_RECONFIGURED: Final = """
SELECT b.id FROM boxes b JOIN box_configs c ON c.box_key = b.key
WHERE b.id = ANY ($1::text[]) AND b.deleted_at IS NULL AND c.reported_at > $2
"""


class LockedQuarantineEntry(NamedTuple):
    """An entry under lock.

    Attributes:
        id: which.
        received_at: when it came.
        organisation_id: whose it is; None where that could not be told.
        platform: whether that is the platform's own organisation; None where there is none.
        box: under which id, where that could be read.
        door: "mqtt" or "http".
        topic: the MQTT topic, which tells the format.
        payload: what is kept of it.
        payload_bytes: how much came.
        replayed_at: when all of it was taken.
        outcome: what became of it at its last replay.
    """

    id: UUID
    received_at: datetime
    organisation_id: UUID | None
    platform: bool | None
    box: str | None
    door: str
    topic: str | None
    payload: bytes
    payload_bytes: int
    replayed_at: datetime | None
    outcome: Mapping[str, int] | None

    @property
    def is_truncated(self) -> bool:
        """Whether less is kept than came."""
        return len(self.payload) < self.payload_bytes

    @property
    def is_undecodable(self) -> bool:
        """Whether there is nothing that a codec could read: no byte was kept, or a packet without a topic."""
        return not self.payload or (self.door == "mqtt" and self.topic is None)


async def lock_entry(
    connection: RawConnection, identifier: UUID, visible: TenantScope
) -> LockedQuarantineEntry | None:
    """Lock an entry until the caller's transaction ends; None where the caller may not replay it.

    Args:
        connection: in a transaction.
        identifier: which.
        visible: what the caller may see.
    """
    row = await connection.fetchrow(_LOCK, identifier, visible.organisations, visible.sites)
    if row is None:
        return None
    outcome = row["outcome"]
    return LockedQuarantineEntry(
        **{**row, "outcome": None if outcome is None else msgspec.json.decode(outcome)}
    )


async def record_replay_outcome(
    connection: RawConnection,
    identifier: UUID,
    *,
    refused: tuple[str, str] | None,
    outcome: Mapping[str, int],
    clear_payload: bool,
    now: datetime,
) -> None:
    """Note in the caller's transaction what came of a replay.

    Args:
        connection: in the transaction that holds the entry.
        identifier: which.
        refused: code and detail, where something of it is still refused; it stays then.
        outcome: counts.
        forget: whether its payload is to go: something of it may be stored nowhere.
        now: the time of the replay.
    """
    code, detail = (None, None) if refused is None else (refused[0], truncate_detail(refused[1]))
    await connection.execute(
        _MARK, identifier, now, code, detail, msgspec.json.encode(outcome).decode(), clear_payload
    )


async def find_boxes_with_newer_status(
    connection: RawConnection, boxes: Sequence[str], since: datetime
) -> frozenset[str]:
    """Those of the boxes whose state is known better than from a status of that time."""
    return await _fetch_ids(connection, _NEWER_STATUS, boxes, since)


async def find_reconfigured_boxes(
    connection: RawConnection, boxes: Sequence[str], since: datetime
) -> frozenset[str]:
    """Those of the boxes that reported a configuration since."""
    return await _fetch_ids(connection, _RECONFIGURED, boxes, since)


async def _fetch_ids(
    connection: RawConnection, query: str, boxes: Sequence[str], since: datetime
) -> frozenset[str]:
    rows = await connection.fetch(query, boxes, since) if boxes else []
    return frozenset(identifier for (identifier,) in rows)


async def find_replayable_entries(
    session: AsyncSession, filters: QuarantineFilter, after: UUID | None, limit: int
) -> list[UUID]:
    """Entries that can be replayed and were not, the oldest first: at most `limit`, those after this one."""
    rows = await session.execute(_replayable_query(filters, after, limit))
    return list(rows.scalars())


async def count_replayable_entries(
    session: AsyncSession, filters: QuarantineFilter, after: UUID | None
) -> int:
    """How many there are, up to COUNTED."""
    found = _replayable_query(filters, after, REPLAYABLE_COUNT_LIMIT).subquery()
    count: int = (await session.execute(select(func.count()).select_from(found))).scalar_one()
    return count


def _replayable_query(filters: QuarantineFilter, after: UUID | None, limit: int) -> Select[UUID]:
    entry = QuarantineEntry
    conditions: list[ColumnElement[bool]] = [
        entry.payload_bytes.between(1, MAX_PAYLOAD_BYTES),
        not_(and_(entry.door == "mqtt", entry.topic.is_(None))),
        entry.replayed_at.is_(None),
        *filters.unscoped_conditions(),
    ]
    if after is not None:
        conditions.append(entry.id > after)
    parts = [
        select(entry.id).where(*conditions, *access).order_by(entry.id).limit(limit)
        for access in _access_conditions(filters.visible)
    ]
    if len(parts) == 1:
        return parts[0]
    # One after the other: with OR none of the indexes would be walked in order.
    found = union_all(*(select(part.subquery().c.id) for part in parts)).subquery()
    return select(found.c.id).order_by(found.c.id).limit(limit)


def _access_conditions(visible: TenantScope) -> list[tuple[ColumnElement[bool] | TextClause, ...]]:
    """The kinds of entry that a caller may replay."""
    if visible.organisations is None:
        return [()]
    unowned = text(_UNOWNED.format(me=":me", here="CAST(:here AS uuid[])")).bindparams(
        bindparam("me", list(visible.organisations), type_=ARRAY(Uuid)),
        bindparam("here", None if visible.sites is None else list(visible.sites), type_=ARRAY(Uuid)),
    )
    return [tuple(QuarantineFilter(visible).conditions()), (unowned,)]
