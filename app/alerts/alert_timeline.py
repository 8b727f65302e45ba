"""What happened to an alert, entry by entry: by samples, by people, by time that passed.

Owns the form of an entry and how it is written: in the transaction of what it tells, never after. Must not
decide that something happened.
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
    """One line of a timeline.

    Attributes:
        alert_id: of this alert.
        organisation_id: whose alert it is.
        kind: what happened.
        at: when, aware: time of the sample that did it, or when somebody did it.
        severity: the alert's, after it.
        value: of the part of the condition that decided; None where it has none.
        cause: what decided, with the time and the values of the sample; None where no sample did.
        actor: the name of the API key that was used, or of the person.
        actor_key: that key's id, or the person's.
        actor_kind: `key` or `user`.
        comment: what a person said.
        data: what else belongs to this kind.
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
    """Write entries that no person made, in the order given, in one statement."""
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
    """Write entries in the transaction of a session, in the order given."""
    if not entries:
        return
    rows = [
        # UUIDs and datetimes in them become text here: SQLAlchemy's own JSON serializer refuses them.
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
    """Write a value for a jsonb column, as text that the server casts; None stays SQL's null."""
    return None if value is None else msgspec.json.encode(value).decode()
