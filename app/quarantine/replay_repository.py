"""Locks quarantined messages for replay, records the outcome, and finds those that a caller may replay.

`app.ingest.quarantine_replay` evaluates the messages.

The organisation of an entry is set on arrival: that of the box, or of the HTTP caller. An MQTT message under
an unknown box id has no organisation. It may be replayed by the organisation that has a box of this id now,
unless the id ever belonged to another organisation: a box that was given away may still be sending. Only
administrators of the platform can read such an entry.
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
from app.quarantine.models import QuarantineEntry
from app.quarantine.queries import QuarantineFilter
from app.registry.cross_tenant_repository import find_platform_organisation, read_status_times
from app.timeseries.storage.newest_samples import find_boxes_heard_since

REPLAYABLE_COUNT_LIMIT: Final = 10_000
"""Remaining entries are counted up to this number: counting more would be slow, and changes nothing."""

# An entry without an organisation that the caller may replay, see the module's docstring. `{me}` are the
# caller's organisations, `{here}` its sites.
_UNOWNED: Final = """
quarantine.organisation_id IS NULL AND quarantine.door = 'mqtt'
AND EXISTS (
    SELECT FROM registry_boxes b
    WHERE b.id = quarantine.box AND b.deleted_at IS NULL AND b.organisation_id = ANY ({me})
        AND ({here} IS NULL OR b.site_id = ANY ({here}))
)
AND NOT EXISTS (
    SELECT FROM registry_former_boxes f WHERE f.box = quarantine.box AND f.organisation_id <> ALL ({me})
)
"""
# The lock holds until the transaction ends, so that two replays cannot both store the same message.
_LOCK: Final = f"""
SELECT id, received_at, organisation_id, box, door, topic, payload, payload_bytes, replayed_at, outcome
FROM quarantine
WHERE id = $1 AND ($2::uuid[] IS NULL OR (
    organisation_id = ANY ($2)
    AND ($3::uuid[] IS NULL OR EXISTS (
        SELECT FROM registry_boxes b
        WHERE b.id = quarantine.box AND b.deleted_at IS NULL AND b.site_id = ANY ($3)
    ))
) OR ({_UNOWNED.format(me="$2", here="$3::uuid[]")}))
FOR UPDATE
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


class LockedQuarantineEntry(NamedTuple):
    """A locked entry.

    Attributes:
        id: the entry.
        received_at: time of arrival.
        organisation_id: its organisation, or None.
        is_of_platform: whether that is the platform's own organisation.
        box: the claimed box id; None if it could not be read.
        door: "mqtt" or "http".
        topic: the MQTT topic, which determines the format.
        payload: the stored bytes.
        payload_bytes: the received size in bytes.
        replayed_at: when a replay accepted all of it.
        outcome: the counts of its last replay.
    """

    id: UUID
    received_at: datetime
    organisation_id: UUID | None
    is_of_platform: bool
    box: str | None
    door: str
    topic: str | None
    payload: bytes
    payload_bytes: int
    replayed_at: datetime | None
    outcome: Mapping[str, int] | None

    @property
    def is_truncated(self) -> bool:
        """Whether fewer bytes are stored than were received."""
        return len(self.payload) < self.payload_bytes

    @property
    def is_undecodable(self) -> bool:
        """Whether a codec has nothing to decode: no stored byte, or an MQTT packet without a topic."""
        return not self.payload or (self.door == "mqtt" and self.topic is None)


async def lock_entry(
    connection: RawConnection, identifier: UUID, visible: TenantScope
) -> LockedQuarantineEntry | None:
    """Lock an entry until the caller's transaction ends; None if the caller may not replay it.

    Args:
        connection: in a transaction.
        identifier: the entry.
        visible: the caller's tenant scope.
    """
    row = await connection.fetchrow(_LOCK, identifier, visible.organisations, visible.sites)
    if row is None:
        return None
    outcome, organisation_id = row["outcome"], row["organisation_id"]
    is_of_platform = organisation_id is not None and organisation_id == await find_platform_organisation(
        connection
    )
    return LockedQuarantineEntry(
        **{**row, "outcome": None if outcome is None else msgspec.json.decode(outcome)},
        is_of_platform=is_of_platform,
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
    """Record the outcome of a replay in the caller's transaction.

    Args:
        connection: in the transaction that locks the entry.
        identifier: the entry.
        refused: code and detail, if a part is still refused; the entry stays then.
        outcome: counts.
        clear_payload: whether to delete the payload, because a part of it may not be stored.
        now: the time of the replay.
    """
    code, detail = (None, None) if refused is None else (refused[0], truncate_detail(refused[1]))
    await connection.execute(
        _MARK, identifier, now, code, detail, msgspec.json.encode(outcome).decode(), clear_payload
    )


async def find_boxes_with_newer_status(
    connection: RawConnection, boxes: Sequence[str], since: datetime
) -> frozenset[str]:
    """Find the boxes whose status has changed since a time: by a newer status, or by a sample.

    It reads twice. A status that arrives in between is missed, like one that arrives after the second read.
    """
    known = await read_status_times(connection, boxes) if boxes else []
    heard = await find_boxes_heard_since(connection, [row["key"] for row in known], since) if known else ()
    return frozenset(
        row["id"]
        for row in known
        if row["key"] in heard or (row["state_at"] is not None and row["state_at"] > since)
    )


async def find_replayable_entries(
    session: AsyncSession, filters: QuarantineFilter, after: UUID | None, limit: int
) -> list[UUID]:
    """Find entries that can be replayed and were not, the oldest first.

    Args:
        session: reads the entries.
        filters: selects the entries.
        after: only entries after this one; None for the first page.
        limit: the highest number of entries.
    """
    rows = await session.execute(_replayable_query(filters, after, limit))
    return list(rows.scalars())


async def count_replayable_entries(
    session: AsyncSession, filters: QuarantineFilter, after: UUID | None
) -> int:
    """Count the entries that can be replayed and were not, up to `REPLAYABLE_COUNT_LIMIT`."""
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
    # UNION ALL, because with OR no index could return the rows in order.
    found = union_all(*(select(part.subquery().c.id) for part in parts)).subquery()
    return select(found.c.id).order_by(found.c.id).limit(limit)


def _access_conditions(visible: TenantScope) -> list[tuple[ColumnElement[bool] | TextClause, ...]]:
    """Return the conditions for each kind of entry that a caller may replay."""
    if visible.organisations is None:
        return [()]
    unowned = text(_UNOWNED.format(me=":me", here="CAST(:here AS uuid[])")).bindparams(
        bindparam("me", list(visible.organisations), type_=ARRAY(Uuid)),
        bindparam("here", None if visible.sites is None else list(visible.sites), type_=ARRAY(Uuid)),
    )
    return [tuple(QuarantineFilter(visible).conditions()), (unowned,)]
