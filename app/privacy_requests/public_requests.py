"""Submits, shows and withdraws privacy requests (GDPR) of anonymous callers, with rate limits.

REST and the pages both use it. It works in the full tenant scope, because the caller has no API key.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request

from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.db.database import Database
from app.platform.identity import attempt_limiter
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.ip_addresses import make_address_subject
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, format_actor, run_as_caller
from app.privacy_requests import service
from app.privacy_requests.schemas import RightsAsk, RightsRequestCreate, RightsRequestMade, RightsStatus
from app.privacy_requests.settings import RightsSettings

_HOUR_S: Final = 3600.0


class OwnRequestAction(Protocol):
    """An action of a requester on their own request."""

    async def __call__(
        self, database: Database, credentials: RightsAsk, settings: RightsSettings, *, host: str | None
    ) -> RightsStatus:
        """Perform the action, and return the status of the request.

        Args:
            database: The database.
            credentials: Reference and token of the request.
            settings: The rate limits.
            host: The address of the client, to which the rate limit applies.
        """
        ...


RightsSettingsDependency = Annotated[RightsSettings, Depends(make_resource_dependency(RightsSettings))]


def get_client_host(request: Request) -> str | None:
    """Return the address of the client, to which rate limits apply."""
    return request.client.host if request.client else None


_WHO: Final = ScopedCaller(FULL_SCOPE, format_actor("anybody", None, "who makes a request"))


async def submit_request(
    database: Database, body: RightsRequestCreate, settings: RightsSettings, *, host: str | None
) -> RightsRequestMade:
    """Store a new request and notify the organisation.

    Args:
        database: The database.
        body: The request.
        settings: The rate limits.
        host: The address of the client, to which the rate limit applies.

    Raises:
        NotFoundError: The site does not exist.
        TooManyRequestsError: `too_many_attempts`: the rate limit of the address or of the organisation.
    """
    now = datetime.now(UTC)
    with run_as_caller(_WHO):
        async with database.read() as reader:
            owner = await service.find_responsible_organisation(reader, body.site_id)
    counted = {
        f"rights:{make_address_subject(host)}": settings.per_address,
        f"rights-for:{owner}": settings.per_organisation,
    }
    await attempt_limiter.limit_attempts(database, counted, window_s=_HOUR_S)
    with run_as_caller(_WHO):
        async with database.write() as session:
            row, token = await service.add_request(session, body, owner, now)
            made = RightsRequestMade(
                reference=row.reference, token=token, received_at=row.received_at, due_at=row.due_at
            )
        await wake_dispatcher_after(database)
    return made


async def read_request_status(
    database: Database, credentials: RightsAsk, settings: RightsSettings, *, host: str | None
) -> RightsStatus:
    """Return the status of a request to its requester.

    Args:
        database: The database.
        credentials: Reference and token of the request.
        settings: The rate limits.
        host: The address of the client, to which the rate limit applies.

    Raises:
        NotFoundError: The request does not exist, or the token does not match.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _limit_lookups(database, settings, host)
    with run_as_caller(_WHO):
        async with database.read() as session:
            return RightsStatus.of(await service.find_own_request(session, credentials))


async def withdraw_own_request(
    database: Database, credentials: RightsAsk, settings: RightsSettings, *, host: str | None
) -> RightsStatus:
    """Withdraw a request on behalf of its requester.

    Args:
        database: The database.
        credentials: Reference and token of the request.
        settings: The rate limits.
        host: The address of the client, to which the rate limit applies.

    Raises:
        NotFoundError: The request does not exist, or the token does not match.
        ConflictError: `request_closed`.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _limit_lookups(database, settings, host)
    with run_as_caller(_WHO):
        async with database.write() as session:
            row = await service.find_own_request(session, credentials, lock=True)
            service.mark_withdrawn(row, datetime.now(UTC))
            await session.flush()
            return RightsStatus.of(row)


async def _limit_lookups(database: Database, settings: RightsSettings, host: str | None) -> None:
    subject = f"rights-look:{make_address_subject(host)}"
    await attempt_limiter.limit_attempt(database, subject, most=settings.looks, window_s=_HOUR_S)
