"""Creates, extends, withdraws and answers data subjects' GDPR requests, and computes their deadlines.

It works inside the caller's transaction.

The deadline follows Article 12(3) of the GDPR: one month after receipt, which may be extended by two further
months. Months are calendar months (Regulation (EEC, Euratom) No 1182/71, Article 3(2)(c)): the same day of
the month, or the last day of a shorter month. Holidays do not extend the deadline here, so an answer in time
is never late in law.
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
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.privacy_requests import request_queries
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
MAX_FINDINGS_SPAN: Final = timedelta(days=31)
"""Longest period for which data are counted."""
_MONTHS_OF_A_YEAR: Final = 12
# Crockford's base 32: no letters that look like digits.
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUP: Final = 5
_TOKEN_BYTES: Final = 24


def add_months(instant: datetime, months: int) -> datetime:
    """Add calendar months to a time.

    Args:
        instant: A time with a time zone.
        months: The number of months, at least 0.
    """
    year, month = divmod(instant.month - 1 + months, _MONTHS_OF_A_YEAR)
    year, month = instant.year + year, month + 1
    return instant.replace(year=year, month=month, day=min(instant.day, monthrange(year, month)[1]))


def compute_due_at(received_at: datetime, *, extended: bool = False) -> datetime:
    """Compute the deadline of the answer to a request."""
    return add_months(received_at, ANSWER_MONTHS + (EXTENSION_MONTHS if extended else 0))


def new_reference() -> str:
    """Create a reference that can be read out on the telephone (50 random bits)."""
    first, second = ("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(2))
    return f"R-{first}-{second}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def find_responsible_organisation(session: AsyncSession, site_id: UUID | None) -> UUID:
    """Find the organisation that has to answer: that of the site, or the platform's operator without a site.

    Raises:
        NotFoundError: The site does not exist.
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
    """Store a request, and publish an event without its text.

    Args:
        session: The session.
        body: The request.
        owner: The organisation that has to answer.
        now: The time of receipt.

    Returns:
        The row, and the token. The row stores only the hash of the token.
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
    """Build the event of a request. It contains neither the requester nor the text."""
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


async def find_own_request(
    session: AsyncSession, credentials: RightsAsk, *, lock: bool = False
) -> RightsRequest:
    """Find a request by its reference and token.

    Raises:
        NotFoundError: The request does not exist, or the token does not match. The error is the same, so that
            references cannot be probed.
    """
    row = await request_queries.find_by_reference(session, credentials.reference.strip().upper(), lock=lock)
    given = _hash(credentials.token.strip())
    if row is None or not hmac.compare_digest(row.token_hash, given):
        raise NotFoundError("request", credentials.reference)
    return row


def mark_withdrawn(row: RightsRequest, now: datetime) -> None:
    """Withdraw a request (ConflictError `request_closed`)."""
    check_open(row)
    row.state, row.closed_at, row.updated_at = "withdrawn", now, now


def check_open(row: RightsRequest) -> None:
    """Check that a request is open (ConflictError `request_closed`)."""
    if row.closed_at is not None:
        raise ConflictError("The request is closed: it was answered or withdrawn.", code="request_closed")


def record_handler(row: RightsRequest, principal: Principal, now: datetime) -> None:
    """Record the API key or person that changed a request."""
    row.handled_by, row.handled_kind, row.updated_at = principal.key_id, principal.kind, now


def extend_request(row: RightsRequest, principal: Principal, reason: str, now: datetime) -> None:
    """Extend the deadline of a request by two months.

    Args:
        row: The request.
        principal: The caller.
        reason: The reason, which the requester sees.
        now: The current time.

    Raises:
        ConflictError: `request_closed`, `request_extended`, `request_overdue`.
    """
    check_open(row)
    if row.extended_at is not None:
        raise ConflictError(
            "The deadline was extended before. It can be extended once.", code="request_extended"
        )
    if row.due_at < now:
        raise ConflictError(
            "The deadline has passed. An extension must be announced within the first month. Answer the "
            "request.",
            code="request_overdue",
        )
    row.extended_at, row.extension_reason = now, reason
    row.due_at = compute_due_at(row.received_at, extended=True)
    record_handler(row, principal, now)


def answer_request(row: RightsRequest, principal: Principal, body: RightsAnswer, now: datetime) -> None:
    """Answer a request.

    Args:
        row: The request.
        principal: The caller.
        body: The answer.
        now: The current time.

    Raises:
        ConflictError: `request_closed`.
    """
    check_open(row)
    row.state, row.outcome, row.answer, row.closed_at = "answered", body.outcome, body.answer, now
    record_handler(row, principal, now)


async def count_findings(session: AsyncSession, row: RightsRequest, now: datetime) -> RightsFindings:
    """Count the stored data of a request's site and period; without a period, those of the 31 days before it.

    Raises:
        InvalidError: `range_too_large`.
    """
    ends_at = row.ends_at or min(now, row.received_at)
    if row.begins_at is not None and row.ends_at is None:
        # Without an end, the first 31 days are counted. The series endpoints have later data.
        ends_at = max(row.begins_at, min(ends_at, row.begins_at + MAX_FINDINGS_SPAN))
    begins_at = row.begins_at or ends_at - MAX_FINDINGS_SPAN
    if ends_at - begins_at > MAX_FINDINGS_SPAN:
        raise InvalidError(
            f"The request is about more than {MAX_FINDINGS_SPAN.days} days. Count shorter periods with the "
            f"series endpoints.",
            code="range_too_large",
        )
    found = RightsFindings(
        site_id=row.site_id, begins_at=begins_at, ends_at=ends_at, boxes=0, samples=0, events=[], alerts=0
    )
    if row.site_id is None:
        return found
    keys = await request_queries.list_box_keys(session, row.site_id)
    found.boxes = len(keys)
    found.samples = await request_queries.count_samples(session, keys, begins_at, ends_at)
    counted = await request_queries.count_events(session, keys, begins_at, ends_at)
    found.events = [EventCount(type=type_, count=number) for type_, number in counted]
    found.alerts = await request_queries.count_alerts(session, row.site_id, begins_at, ends_at)
    return found
