"""Writes entries of the timeline of alerts.

Entries are written in the transaction of the change that they record. Must not decide on changes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import insert

from app.alerts.models import TimelineEntry
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.ids import new_id

TimelineKind = Literal[
    "fired",
    "escalated",
    "deescalated",
    "resolved",
    "acknowledged",
    "unacknowledged",
    "assigned",
    "commented",
    "suppressed",
    "unsuppressed",
    "reminded",
]

_WRITE: Final = """
INSERT INTO alert_timeline
    (id, alert_id, organisation_id, kind, at, recorded_at, severity, value, cause, actor, actor_key, comment,
     data)
SELECT id, alert_id, organisation_id, kind, at, now(), severity, value, cause::jsonb, NULL, NULL, NULL,
       data::jsonb
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::float8[],
            $8::text[], $9::text[]) WITH ORDINALITY
    AS given (id, alert_id, organisation_id, kind, at, severity, value, cause, data, place)
ORDER BY place
"""


class NewTimelineEntry(NamedTuple):
    """A new entry of a timeline.

    Attributes:
        alert_id: the alert.
        organisation_id: the organisation of the alert.
        kind: what happened.
        at: the time of the sample that caused it, or of the action; aware.
        severity: the severity after it.
        value: the value of the deciding part of the condition; None if it has none.
        cause: the deciding part, with time and values of the sample; None without a sample.
        actor: the name of the API key or the person.
        actor_key: the id of the API key or the person.
        actor_kind: `key` or `user`.
        comment: the comment of a person.
        data: further fields of this kind.
    """

    alert_id: UUID
    organisation_id: UUID
    kind: TimelineKind
    at: datetime
    severity: str
    value: float | None = None
    cause: dict[str, Any] | None = None
    actor: str | None = None
    actor_key: UUID | None = None
    actor_kind: str | None = None
    comment: str | None = None
    data: dict[str, Any] | None = None


async def write_timeline(connection: RawConnection, entries: Sequence[NewTimelineEntry]) -> None:
    """Write entries without an actor, in the given order, in one statement."""
    if not entries:
        return
    await connection.execute(
        _WRITE,
        [new_id() for _ in entries],
        [entry.alert_id for entry in entries],
        [entry.organisation_id for entry in entries],
        [entry.kind for entry in entries],
        [entry.at for entry in entries],
        [entry.severity for entry in entries],
        [entry.value for entry in entries],
        [encode_jsonb(entry.cause) for entry in entries],
        [encode_jsonb(entry.data) for entry in entries],
    )


async def write_timeline_in_session(
    session: WriteSession, entries: Sequence[NewTimelineEntry], now: datetime
) -> None:
    """Write entries in the transaction of a session, in the given order."""
    if not entries:
        return
    rows = [
        # Converts UUIDs and datetimes to text: SQLAlchemy's JSON serializer refuses them.
        {
            **entry._asdict(),
            "id": new_id(),
            "recorded_at": now,
            "cause": msgspec.to_builtins(entry.cause),
            "data": msgspec.to_builtins(entry.data),
        }
        for entry in entries
    ]
    await session.execute(insert(TimelineEntry), rows)


def encode_jsonb(value: Any) -> str | None:  # noqa: ANN401 (whatever JSON holds)
    """Encode a value for a jsonb column as text, which the server casts; None becomes SQL's NULL."""
    return None if value is None else msgspec.json.encode(value).decode()
