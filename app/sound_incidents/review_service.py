"""Records people's reviews of incidents, with outcomes from the catalogue of acoustic sources.

Must not wake the dispatcher: the caller does so after its commit.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from app.catalogue.gunshot_sources import CATALOGUE
from app.notifications.events.outbox import enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError
from app.platform.kernel.ids import new_id
from app.sound_incidents import incident_queries
from app.sound_incidents.incident_outbox_events import build_incident_event
from app.sound_incidents.incident_values import summarise_incident
from app.sound_incidents.models import Incident, IncidentEntry
from app.sound_incidents.schemas import IncidentReview

_FIREARMS: Final = CATALOGUE.firearms
_LOOK_ALIKES: Final = CATALOGUE.look_alikes

CONFIRMING_OUTCOMES: Final = frozenset(
    {
        *("gunshot", "explosion"),
        *(source.class_ for source in _FIREARMS),
        *(source.id for source in _FIREARMS),
    }
)
"""Outcomes that confirm: a class or a model of firearms, `gunshot` if that is unknown, `explosion`."""

DISMISSING_OUTCOMES: Final = frozenset(
    {"not_gunshot", "undetermined", *(source.id for source in _LOOK_ALIKES)}
)
"""Outcomes that dismiss: a look-alike, `not_gunshot` if the source is unknown, `undetermined`."""

SYSTEM_OUTCOMES: Final = ("superseded", "erased")
"""Outcomes without a review: it became part of another incident, or its events were erased."""


type ReviewFinding = Literal["confirmed", "dismissed"]

_PERSON = "user"


async def review_incident(
    session: WriteSession,
    principal: Principal,
    incident_id: UUID,
    *,
    finding: ReviewFinding,
    review: IncidentReview,
    now: datetime,
    check: Callable[[Incident], None],
) -> Incident:
    """Record the review of a person. A corrected review stays in the history.

    Args:
        session: the caller's transaction.
        principal: the caller, which must be a signed-in person.
        incident_id: the incident.
        finding: confirmed or dismissed.
        review: the request body.
        now: the time of the review, aware.
        check: checks the row before the change (`If-Match`).

    Raises:
        ForbiddenError: `person_required`: an API key cannot review.
        InvalidError: `unknown_outcome`.
        NotFoundError: no such incident in the tenant scope.
        ConflictError: `already_reviewed`, `incident_changed`.
        PreconditionFailedError: raised by `check`.
    """
    row = await incident_queries.find_incident(session, incident_id, principal.visible(), lock=True)
    if principal.kind != _PERSON:
        raise ForbiddenError(
            "API keys cannot review incidents. Sign in as a person (POST /v1/sessions).",
            code="person_required",
        )
    if review.outcome not in (CONFIRMING_OUTCOMES if finding == "confirmed" else DISMISSING_OUTCOMES):
        raise InvalidError(
            f"An incident cannot be {finding} with this outcome. Choose one of `GET /v1/acoustic-sources`.",
            code="unknown_outcome",
        ).at("body.outcome")
    check(row)
    _check_reviewable(row, review.sequence)
    # `review_s` is the time to the first review: a correction does not change it.
    if row.review_s is None:
        row.review_s = max(0.0, (now - row.detected_at).total_seconds())
    row.state = finding
    row.outcome, row.note = review.outcome, review.note
    row.reviewed_by, row.reviewed_kind, row.reviewed_name = principal.key_id, _PERSON, principal.name
    row.reviewed_at = row.updated_at = now
    row.sequence += 1
    row.untold = False
    columns = {each.key: getattr(row, each.key) for each in Incident.__table__.columns}
    session.add(_build_history_entry(row, principal, columns, now))
    await session.flush()
    await enqueue_session_events(session, [build_incident_event(finding, columns, now)])
    return row


def _build_history_entry(
    row: Incident, principal: Principal, columns: Mapping[str, Any], now: datetime
) -> IncidentEntry:
    return IncidentEntry(
        id=new_id(),
        incident_id=row.id,
        kind=row.state,
        at=now,
        sequence=row.sequence,
        data=summarise_incident(columns),
        actor_kind=_PERSON,
        actor_id=principal.key_id,
        actor_name=principal.name,
        outcome=row.outcome,
        note=row.note,
    )


def _check_reviewable(row: Incident, sequence: int | None) -> None:
    if sequence is not None and sequence != row.sequence:
        raise ConflictError(
            f"The incident changed: its sequence is {row.sequence} now. Read it again, then decide.",
            code="incident_changed",
            extra={"sequence": row.sequence},
        )
    if row.reviewed_kind == "system":
        raise ConflictError(
            "The incident cannot be reviewed: it became part of another incident, or its events were erased.",
            code="already_reviewed",
            extra={"sequence": row.sequence},
        )
    if row.state != "open" and sequence is None:
        raise ConflictError(
            f"The incident is already {row.state}. Send its `sequence` to correct the review.",
            code="already_reviewed",
            extra={"sequence": row.sequence},
        )
