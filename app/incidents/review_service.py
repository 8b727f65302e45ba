"""What people say that an incident was. Must not know HTTP, and must not wake the dispatcher.

What a review may find, of the catalogue of acoustic sources. Pure.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from app.catalogue.acoustic_sources import CATALOGUE
from app.incidents import repository
from app.incidents.incident_events import build_incident_event
from app.incidents.incident_versions import summarise_incident
from app.incidents.models import Incident, IncidentEntry
from app.incidents.schemas import IncidentReview
from app.notifications.events.outbox import enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.kernel.ids import new_id

_FIREARMS: Final = CATALOGUE.firearms
_LOOK_ALIKES: Final = CATALOGUE.look_alikes

CONFIRMING_OUTCOMES: Final = frozenset(
    {
        *("gunshot", "explosion"),
        *(source.class_ for source in _FIREARMS),
        *(source.id for source in _FIREARMS),
    }
)
"""It was one: a class or a model of firearms, `gunshot` where that is not known, `explosion`."""

DISMISSING_OUTCOMES: Final = frozenset(
    {"not_gunshot", "undetermined", *(source.id for source in _LOOK_ALIKES)}
)
"""It was none: what it was instead, `not_gunshot` where that is not known, `undetermined`."""

SYSTEM_OUTCOMES: Final = ("superseded", "erased")
"""Nobody's finding: it was a part of another incident, or nothing is left of it."""


type ReviewFinding = Literal["confirmed", "dismissed"]

_PERSON = "user"


async def review_incident(
    session: WriteSession,
    principal: Principal,
    incident_id: UUID,
    *,
    finding: ReviewFinding,
    told: IncidentReview,
    now: datetime,
    check: Callable[[Incident], None],
) -> Incident:
    """Record what a person found. A review that is corrected stays in the history.

    Args:
        session: the caller's transaction.
        principal: who it is: a person who signed in.
        incident_id: which.
        finding: whether it was one.
        told: what the person says.
        now: when this is, aware.
        check: of the row before it is changed: `If-Match`.

    Raises:
        ForbiddenError: `person_required`: a key decides nothing.
        InvalidError: `unknown_outcome`.
        NotFoundError: no such incident, or another organisation's.
        ConflictError: `already_reviewed`, `incident_changed`.
        PreconditionFailedError: of `check`.
    """
    row = await repository.find_incident(session, incident_id, principal.visible(), lock=True)
    if principal.kind != _PERSON:
        raise ForbiddenError(
            "A person has to review an incident: sign in (POST /v1/sessions). API keys cannot.",
            code="person_required",
        )
    if told.outcome not in (CONFIRMING_OUTCOMES if finding == "confirmed" else DISMISSING_OUTCOMES):
        raise InvalidError(
            f"An incident cannot be {finding} with this outcome: it is none of `GET /v1/acoustic-sources` "
            "that says so.",
            code="unknown_outcome",
        ).at("body.outcome")
    check(row)
    _may(row, told.sequence)
    # A correction does not change how long the first one took.
    if row.review_s is None:
        row.review_s = max(0.0, (now - row.detected_at).total_seconds())
    row.state = finding
    row.outcome, row.note = told.outcome, told.note
    row.reviewed_by, row.reviewed_kind, row.reviewed_name = principal.key_id, _PERSON, principal.name
    row.reviewed_at = row.updated_at = now
    row.sequence += 1
    row.untold = False
    columns = {each.key: getattr(row, each.key) for each in Incident.__table__.columns}
    session.add(
        IncidentEntry(
            id=new_id(),
            incident_id=row.id,
            kind=finding,
            at=now,
            sequence=row.sequence,
            data=summarise_incident(columns),
            actor_kind=_PERSON,
            actor_id=principal.key_id,
            actor_name=principal.name,
            outcome=told.outcome,
            note=told.note,
        )
    )
    await session.flush()
    await enqueue_session_events(session, [build_incident_event(finding, columns, now)])
    return row


def _may(row: Incident, sequence: int | None) -> None:
    if sequence is not None and sequence != row.sequence:
        raise ConflictError(
            f"The incident is at sequence {row.sequence} by now: read it again, and decide anew.",
            code="incident_changed",
            extra={"sequence": row.sequence},
        )
    if row.reviewed_kind == "system":
        raise ConflictError(
            "Nothing is left to review: it turned out to be a part of another incident.",
            code="already_reviewed",
            extra={"sequence": row.sequence},
        )
    if row.state != "open" and sequence is None:
        raise ConflictError(
            f"The incident is {row.state} already. Give its `sequence` to correct the review.",
            code="already_reviewed",
            extra={"sequence": row.sequence},
        )
