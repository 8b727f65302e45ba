"""What anybody may do without a key: make a request, see how far it is, withdraw it.

Owns how often an address may, and that all of it is done with the reach of the program. Pages and REST both
go this way.
"""

from datetime import UTC, datetime
from typing import Final, Protocol

from app.notifications.events.outbox import wake_dispatcher_after
from app.platform.config.settings import VigieSettings
from app.platform.db.database import Database
from app.platform.identity import attempt_limiter
from app.platform.kernel.client_addresses import make_address_subject
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, format_actor, run_as_caller
from app.privacy_requests import service
from app.privacy_requests.schemas import RightsAsk, RightsRequestCreate, RightsRequestMade, RightsStatus

_HOUR_S: Final = 3600.0


class OwnRequestAction(Protocol):
    """What somebody may do with a request of their own."""

    async def __call__(
        self, database: Database, asked: RightsAsk, settings: VigieSettings, *, host: str | None
    ) -> RightsStatus:
        """Do it, and show what became of the request."""
        ...


_WHO: Final = ScopedCaller(FULL_SCOPE, format_actor("anybody", None, "who makes a request"))


async def submit_request(
    database: Database, body: RightsRequestCreate, settings: VigieSettings, *, host: str | None
) -> RightsRequestMade:
    """Take a request.

    Raises:
        NotFoundError: There is no such site.
        TooManyRequestsError: `too_many_attempts`, of the address or for the organisation.
    """
    now = datetime.now(UTC)
    limits = settings.rights
    with run_as_caller(_WHO):
        async with database.read() as reader:
            owner = await service.find_responsible_organisation(reader, body.site_id)
    counted = {
        f"rights:{make_address_subject(host)}": limits.per_address,
        f"rights-for:{owner}": limits.per_organisation,
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
    database: Database, asked: RightsAsk, settings: VigieSettings, *, host: str | None
) -> RightsStatus:
    """Show a request to who has its token.

    Raises:
        NotFoundError: There is none, or the token is another one's.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _count_look(database, settings, host)
    with run_as_caller(_WHO):
        async with database.read() as session:
            return RightsStatus.of(await service.find_own_request(session, asked))


async def withdraw_own_request(
    database: Database, asked: RightsAsk, settings: VigieSettings, *, host: str | None
) -> RightsStatus:
    """End a request because who made it wishes so.

    Raises:
        NotFoundError: There is none, or the token is another one's.
        ConflictError: `request_closed`.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _count_look(database, settings, host)
    with run_as_caller(_WHO):
        async with database.write() as session:
            row = await service.find_own_request(session, asked, lock=True)
            service.mark_withdrawn(row, datetime.now(UTC))
            await session.flush()
            return RightsStatus.of(row)


async def _count_look(database: Database, settings: VigieSettings, host: str | None) -> None:
    subject = f"rights-look:{make_address_subject(host)}"
    await attempt_limiter.limit_attempt(database, subject, most=settings.rights.looks, window_s=_HOUR_S)
