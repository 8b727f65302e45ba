"""What happens when a request is made, looked at by who made it, and answered.

Works inside the caller's transaction. Whoever makes a request shows no key: what is done for them is done
with the reach of the program itself, and gives nothing away but the request itself.

Until when a request is to be answered.

Article 12(3) of the GDPR: within one month of receipt, which may be extended by two further months where
necessary. Months are those of the calendar (Regulation (EEC, Euratom) No 1182/71, article 3(2)(c)): the day
of the same number, or the last one of a month that has none. That a period which ends on a holiday goes on
to the next working day is not counted: an answer is rather asked for a day early.
"""

import hashlib
import hmac
import secrets
from calendar import monthrange
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.events.event_types import RIGHTS_RECEIVED
from app.notifications.events.outbox import OutboxRecord, enqueue_session_events
from app.platform.db.database import WriteSession
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.privacy_requests import repository
from app.privacy_requests.models import RightsRequest
from app.privacy_requests.schemas import (
    EventCount,
    RightsAnswer,
    RightsAsk,
    RightsFindings,
    RightsRequestCreate,
)
from app.registry.models import Organisation, Site

ANSWER_MONTHS: Final = 1
EXTENSION_MONTHS: Final = 2
_MONTHS_OF_A_YEAR: Final = 12


def add_months(instant: datetime, months: int) -> datetime:
    """The same time of day so many months later.

    Args:
        instant: aware.
        months: at least 0.
    """
    year, month = divmod(instant.month - 1 + months, _MONTHS_OF_A_YEAR)
    year, month = instant.year + year, month + 1
    return instant.replace(year=year, month=month, day=min(instant.day, monthrange(year, month)[1]))


def compute_due_at(received_at: datetime, *, extended: bool = False) -> datetime:
    """When the answer to what was received then is due."""
    return add_months(received_at, ANSWER_MONTHS + (EXTENSION_MONTHS if extended else 0))


# No letters that are taken for digits (Crockford's base 32).
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUP: Final = 5
_TOKEN_BYTES: Final = 24
MAX_FINDINGS_SPAN: Final = timedelta(days=31)
"""The longest time that findings are counted of."""


def new_reference() -> str:
    """A reference that can be read out on the telephone: 50 bits of chance."""
    first, second = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(2))
    return f"R-{first}-{second}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def find_responsible_organisation(session: AsyncSession, site_id: UUID | None) -> UUID:
    """Who has to answer for a site: its organisation; without a site the platform's own.

    Raises:
        NotFoundError: There is no such site.
    """
    if site_id is None:
        found = await session.scalar(select(Organisation.id).where(Organisation.platform))
    else:
        found = await session.scalar(select(Site.organisation_id).where(Site.id == site_id))
    if found is None:
        raise NotFoundError("site", site_id)
    return found


async def add_request(
    session: WriteSession, body: RightsRequestCreate, owner: UUID, now: datetime
) -> tuple[RightsRequest, str]:
    """Take a request; the organisation's endpoints are told that there is one, and not what it says.

    Returns:
        The row, and the token of which it has no copy.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row = RightsRequest(
        id=new_id(),
        reference=new_reference(),
        token_hash=_hash(token),
        organisation_id=owner,
        state="received",
        received_at=now,
        due_at=compute_due_at(now),
        created_at=now,
        updated_at=now,
        **body.model_dump(),
    )
    session.add(row)
    await session.flush()
    await enqueue_session_events(session, [build_request_event(row, RIGHTS_RECEIVED, now)])
    return row, token


def build_request_event(row: RightsRequest, type_: str, now: datetime) -> OutboxRecord:
    """What endpoints are told of a request: never who made it, nor what they wrote."""
    payload = {
        "request_id": row.id,
        "reference": row.reference,
        "organisation_id": row.organisation_id,
        "site_id": row.site_id,
        "kind": row.kind,
        "state": row.state,
        "received_at": row.received_at,
        "due_at": row.due_at,
    }
    return OutboxRecord(new_id(), row.organisation_id, row.site_id, type_, payload, now)


async def find_own_request(session: AsyncSession, asked: RightsAsk, *, lock: bool = False) -> RightsRequest:
    """The request whose reference and token somebody shows.

    Raises:
        NotFoundError: There is none, or the token is another one's: the two look the same.
    """
    row = await repository.find_by_reference(session, asked.reference.strip().upper(), lock=lock)
    given = _hash(asked.token.strip())
    if row is None or not hmac.compare_digest(row.token_hash, given):
        raise NotFoundError("request", asked.reference)
    return row


def mark_withdrawn(row: RightsRequest, now: datetime) -> None:
    """End a request because who made it wishes so; ConflictError where it was answered."""
    check_open(row)
    row.state, row.closed_at, row.updated_at = "withdrawn", now, now


def check_open(row: RightsRequest) -> None:
    """Refuse what is over (ConflictError `request_closed`)."""
    if row.closed_at is not None:
        raise ConflictError("The request was answered or withdrawn before.", code="request_closed")


def record_handler(row: RightsRequest, principal: Principal, now: datetime) -> None:
    """Note who changed a request."""
    row.handled_by, row.handled_kind, row.updated_at = principal.key_id, principal.kind, now


def extend_request(row: RightsRequest, principal: Principal, reason: str, now: datetime) -> None:
    """Extend a request's time by two months, once, and within the first one.

    Raises:
        ConflictError: `request_closed`, `request_extended`, `request_overdue`.
    """
    check_open(row)
    if row.extended_at is not None:
        raise ConflictError("Its time was extended before, and can be once.", code="request_extended")
    if row.due_at < now:
        raise ConflictError(
            "Its time is over: who made it had to be told of the extension within the month.",
            code="request_overdue",
        )
    row.extended_at, row.extension_reason = now, reason
    row.due_at = compute_due_at(row.received_at, extended=True)
    record_handler(row, principal, now)


def answer_request(row: RightsRequest, principal: Principal, body: RightsAnswer, now: datetime) -> None:
    """Answer a request (ConflictError `request_closed`)."""
    check_open(row)
    row.state, row.outcome, row.answer, row.closed_at = "answered", body.outcome, body.answer, now
    record_handler(row, principal, now)


async def count_findings(session: AsyncSession, row: RightsRequest, now: datetime) -> RightsFindings:
    """Count what is held of a request's site and time; without a time of its own, of the month before it.

    Raises:
        InvalidError: `range_too_large`.
    """
    ends_at = row.ends_at or min(now, row.received_at)
    if row.begins_at is not None and row.ends_at is None:
        # Since long ago: the first month of it, and what is later with the series' endpoints.
        ends_at = max(row.begins_at, min(ends_at, row.begins_at + MAX_FINDINGS_SPAN))
    begins_at = row.begins_at or ends_at - MAX_FINDINGS_SPAN
    if ends_at - begins_at > MAX_FINDINGS_SPAN:
        raise InvalidError(
            f"It is about more than {MAX_FINDINGS_SPAN.days} days: count by parts, with the series' "
            f"endpoints.",
            code="range_too_large",
        )
    found = RightsFindings(
        site_id=row.site_id, begins_at=begins_at, ends_at=ends_at, boxes=0, samples=0, events=[], alerts=0
    )
    if row.site_id is None:
        return found
    keys = await repository.list_box_keys(session, row.site_id)
    found.boxes = len(keys)
    found.samples = await repository.count_samples(session, keys, begins_at, ends_at)
    counted = await repository.count_events(session, keys, begins_at, ends_at)
    found.events = [EventCount(type=type_, count=number) for type_, number in counted]
    found.alerts = await repository.count_alerts(session, row.site_id, begins_at, ends_at)
    return found
