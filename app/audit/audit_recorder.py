"""Writes what no trigger sees: that persons' data were read, and what happened besides changes.

Changes are written by the database itself (migration 0016). All of it is linked into the log when the
transaction commits; who did it and from where the database knows of the transaction
(`app.platform.kernel.tenant_scope`).
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.errors import UnavailableError
from app.platform.kernel.tenant_scope import current_caller
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
SUBJECTS_LIMIT: Final = 1000
"""Of one entry; more of them make more entries."""
NO_ORGANISATION_ID: Final = UUID(int=0)
"""The organisation whose log has what belongs to nobody."""

_RECORD: Final = text(
    "SELECT audit_record(entry.organisation_id, :action, entry.subject, CAST(:details AS jsonb)) FROM "
    "jsonb_to_recordset(CAST(:entries AS jsonb)) AS entry (organisation_id uuid, subject jsonb)"
)
_RECORD_ONCE: Final = text(f"""
{_RECORD.text} WHERE NOT EXISTS (
    SELECT FROM audit_log l
    WHERE l.actor_id = CAST(nullif(current_setting('vigie.actor', true), '') AS jsonb) ->> 'id'
        AND l.at > now() - make_interval(secs => :within_s) AND l.organisation_id = entry.organisation_id
        AND l.action = :action AND jsonb_exists(CAST(l.record AS jsonb) -> 'after', :once)
)
""")
ONCE_WITHIN_S: Final = 3600
"""For how long an entry stands for what else its actor sees of the same."""


_SAY: Final = "SELECT set_config('vigie.actor', $1, true), set_config('vigie.origin', $2, true)"


async def set_audit_actor(connection: RawConnection) -> None:
    """Tell a raw connection's transaction whom it is for: what it changes from here on is theirs."""
    told = current_caller().settings()
    await connection.execute(_SAY, told["vigie.actor"], told["vigie.origin"])


class AccessedSubject(NamedTuple):
    """Something that was shown to somebody: its id (None: all that there is), and whose it is."""

    organisation_id: UUID
    id: object


async def record_access(
    session: WriteSession,
    kind: str,
    seen: Iterable[AccessedSubject],
    *,
    details: Mapping[str, Any] | None = None,
    once: str | None = None,
) -> None:
    """Record that data of persons are shown: `{kind}.read`, an entry for each organisation whose they are.

    Call it before the answer is given, in a transaction that is committed before that (`Writes` is): where
    the entry cannot be written the call fails, and nothing is shown.

    Args:
        session: The transaction.
        kind: What was seen, in the singular: `channel`, `user` …
        seen: The things, in the order in which they are shown; without any nothing is recorded.
        details: What else is worth knowing, such as the range of an export.
        once: What is seen is a log that grows by being seen: one entry with a field of this name stands for
            an hour of its actor's, and says so (`within_s`).

    Raises:
        UnavailableError: `audit_unavailable`.
    """
    found: dict[UUID, list[str]] = {}
    for organisation_id, identifier in seen:
        ids = found.setdefault(organisation_id, [])
        if identifier is not None:
            ids.append(str(identifier))
    entries = [
        (organisation_id, _subject(kind, ids[first : first + SUBJECTS_LIMIT]))
        for organisation_id, ids in sorted(found.items())
        for first in range(0, max(len(ids), 1), SUBJECTS_LIMIT)
    ]
    if once is None:
        await _write(session, f"{kind}.read", entries, details)
    else:
        told = {once: {**(details or {}), "within_s": ONCE_WITHIN_S}}
        await _write(session, f"{kind}.read", entries, told, once=once)


async def record_event(
    session: WriteSession,
    organisations: UUID | Collection[UUID],
    action: str,
    *,
    kind: str,
    identifier: object = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record something that happened: a sign-in, a refusal.

    Args:
        session: The transaction; what it rolls back did not happen.
        organisations: In whose logs it is; where there are none, in that of nobody.
        action: What happened: `session.created`, `access.refused` …
        kind: What it happened to.
        identifier: To which one of them.
        details: What else is worth knowing, no secrets: nothing can be taken out of the log again.

    Raises:
        UnavailableError: `audit_unavailable`.
    """
    subject = _subject(kind, [] if identifier is None else [str(identifier)])
    whose = {organisations} if isinstance(organisations, UUID) else set(organisations) or {NO_ORGANISATION_ID}
    await _write(session, action, [(each, subject) for each in sorted(whose)], details)


def _subject(kind: str, ids: list[str]) -> dict[str, Any]:
    if len(ids) > 1:
        return {"kind": kind, "ids": ids}
    return {"kind": kind, "id": ids[0] if ids else None}


async def _write(
    session: WriteSession,
    action: str,
    entries: list[tuple[UUID, dict[str, Any]]],
    details: Mapping[str, Any] | None,
    *,
    once: str | None = None,
) -> None:
    if not entries:
        return
    rows = [{"organisation_id": str(whose), "subject": subject} for whose, subject in entries]
    told = None if details is None else json.dumps(details)
    values: dict[str, Any] = {"action": action, "entries": json.dumps(rows), "details": told}
    try:
        if once is None:
            await session.execute(_RECORD, values)
        else:
            await session.execute(_RECORD_ONCE, values | {"once": once, "within_s": ONCE_WITHIN_S})
    except SQLAlchemyError as error:
        _log.error("audit_not_written", action=action, exc_info=error)
        raise UnavailableError(
            "This cannot be recorded in the audit log now, and is not done without that: try again.",
            code="audit_unavailable",
        ) from error
