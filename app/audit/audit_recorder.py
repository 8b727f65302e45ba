"""Writes audit entries that no database trigger can see: reads of personal data, sign-ins, refused requests.

Triggers record changes of rows (migration 0016). The database links all entries into the hash chain when the
transaction commits. It takes actor and origin from the settings of the transaction
(`app.platform.kernel.tenant_scope`).

Refused requests (403) are rate limited to one entry a minute per key, method and route: else a client could
fill the log, and delay other writers of its organisation. If an entry cannot be written, the program logs
that, and the request stays refused.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection, WriteSession
from app.platform.identity.caller_authentication import Principal, get_known_principal
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import UnavailableError
from app.platform.kernel.tenant_scope import current_caller, run_as_caller
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
SUBJECTS_LIMIT: Final = 1000
"""Subjects in one entry. More subjects are split over several entries."""
NO_ORGANISATION_ID: Final = UUID(int=0)
"""The log of events that belong to no organisation."""

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
"""The window in which repeated reads by one actor are deduplicated."""


_SET_ACTOR: Final = "SELECT set_config('vigie.actor', $1, true), set_config('vigie.origin', $2, true)"


async def set_audit_actor(connection: RawConnection) -> None:
    """Attribute the further changes of a raw connection's transaction to the current caller."""
    settings = current_caller().settings()
    await connection.execute(_SET_ACTOR, settings["vigie.actor"], settings["vigie.origin"])


class AccessedSubject(NamedTuple):
    """A resource that was shown: its organisation and its id (None: all resources of the kind)."""

    organisation_id: UUID
    id: object


async def record_access(
    session: WriteSession,
    kind: str,
    subjects: Iterable[AccessedSubject],
    *,
    details: Mapping[str, Any] | None = None,
    once: str | None = None,
) -> None:
    """Record that personal data were read: one `{kind}.read` entry for each organisation that owns them.

    Call it before the response is sent, in a transaction that commits before that (`WriteSessionDep`). If
    the entry cannot be written, the request fails and shows nothing.

    Args:
        session: The transaction.
        kind: The kind of resource, in the singular: `channel`, `user` …
        subjects: The resources, in the order in which they are shown. Without any, nothing is recorded.
        details: Further facts, such as the range of an export.
        once: Deduplicates the reads of a log that would grow by being read. `details` are written under this
            name, with the window (`within_s`). Within that window the actor makes no second entry with it.

    Raises:
        UnavailableError: `audit_unavailable`.
    """
    found: dict[UUID, list[str]] = {}
    for organisation_id, identifier in subjects:
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
        marked = {once: {**(details or {}), "within_s": ONCE_WITHIN_S}}
        await _write(session, f"{kind}.read", entries, marked, once=once)


async def record_event(
    session: WriteSession,
    organisations: UUID | Collection[UUID],
    action: str,
    *,
    kind: str,
    identifier: object = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Record an event that is no change of a row, such as a sign-in or a refused request.

    Args:
        session: The transaction. A rollback removes the entry too.
        organisations: The organisations of the logs; if empty, the log of `NO_ORGANISATION_ID`.
        action: The name of the event: `session.created`, `access.refused` …
        kind: The kind of resource that it concerns.
        identifier: The id of that resource.
        details: Further facts. Never secrets: no entry can be deleted.

    Raises:
        UnavailableError: `audit_unavailable`.
    """
    subject = _subject(kind, [] if identifier is None else [str(identifier)])
    owners = (
        {organisations} if isinstance(organisations, UUID) else set(organisations) or {NO_ORGANISATION_ID}
    )
    await _write(session, action, [(each, subject) for each in sorted(owners)], details)


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
    rows = [{"organisation_id": str(owner), "subject": subject} for owner, subject in entries]
    values: dict[str, Any] = {
        "action": action,
        "entries": json.dumps(rows),
        "details": None if details is None else json.dumps(details),
    }
    try:
        if once is None:
            await session.execute(_RECORD, values)
        else:
            await session.execute(_RECORD_ONCE, values | {"once": once, "within_s": ONCE_WITHIN_S})
    except SQLAlchemyError as error:
        _log.error("audit_not_written", action=action, exc_info=error)
        raise UnavailableError(
            "The audit log cannot record this request now, so nothing was done. Retry later.",
            code="audit_unavailable",
        ) from error


_MIN_INTERVAL_S: Final = 60.0
_MAX_REMEMBERED: Final = 10_000


class RefusalRecorder:
    """Records refused requests (403) in the audit log."""

    def __init__(self) -> None:
        self._recorded_at: dict[tuple[object, str, str], float] = {}

    async def record(self, scope: Scope) -> None:
        """Record a refused request, unless it has no known caller or was recorded a moment ago."""
        principal = get_known_principal(scope)
        if principal is None or not self._is_due(principal, scope):
            return
        database = get_resource(scope["app"], Database)
        path = str(getattr(scope.get("route"), "path", "other"))
        try:
            with run_as_caller(principal.caller()):
                async with database.write(changes_access=False) as session:
                    await record_event(
                        session,
                        principal.organisation_id,
                        "access.refused",
                        kind=principal.kind,
                        identifier=principal.key_id,
                        details={"method": scope["method"], "path": path},
                    )
        except (*DATABASE_ERRORS, UnavailableError) as error:
            _log.warning("refusal_not_recorded", path=path, error=repr(error))

    def _is_due(self, principal: Principal, scope: Scope) -> bool:
        now = time.monotonic()
        key = (principal.key_id, scope["method"], str(getattr(scope.get("route"), "path", "other")))
        if now - self._recorded_at.get(key, -_MIN_INTERVAL_S) < _MIN_INTERVAL_S:
            return False
        if len(self._recorded_at) >= _MAX_REMEMBERED:
            self._recorded_at.clear()
        self._recorded_at[key] = now
        return True
