"""Writes what no trigger sees: that persons' data were read, and what happened besides changes.

Changes are written by the database itself (migration 0016). All of it is linked into the log when the
transaction commits; who did it and from where the database knows of the transaction
(`app.platform.kernel.tenant_scope`).

Records refused accesses (403): a key that tries what it may not, or a person.

The first of each kind in a minute: nobody can fill the log, nor keep its organisation's others waiting, by
being refused. What cannot be written is told in the program's log and stays refused all the same.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection, WriteSession
from app.platform.identity.principals import Principal, get_known_principal
from app.platform.kernel.errors import UnavailableError
from app.platform.kernel.tenant_scope import current_caller, run_as_caller
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


_FORBIDDEN: Final = 403
_APART_S: Final = 60.0
_REMEMBERED: Final = 10_000


class RefusalsMiddleware:
    """Pure ASGI; inside of whatever says where a request came from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last: dict[tuple[object, str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and record that it was refused, where it was."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _FORBIDDEN:
                await self._record(scope)
            await send(message)

        await self._app(scope, receive, noticed)

    async def _record(self, scope: Scope) -> None:
        principal = get_known_principal(scope)
        if principal is None or not self._is_due(principal, scope):
            return
        database: Database = scope["app"].state.database
        path = str(getattr(scope.get("route"), "path", "other"))
        try:
            with run_as_caller(principal.caller()):
                async with database.write() as session:
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
        what = (principal.key_id, scope["method"], str(getattr(scope.get("route"), "path", "other")))
        if now - self._last.get(what, -_APART_S) < _APART_S:
            return False
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[what] = now
        return True
