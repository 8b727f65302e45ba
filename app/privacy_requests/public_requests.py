"""What anybody may do without a key: make a request, see how far it is, withdraw it.

Owns how often an address may, and that all of it is done with the reach of the program. Pages and REST both
go this way.
"""

from datetime import UTC, datetime
from typing import Final, Protocol

from app.notifications.events.outbox import wake_after
from app.platform.config.settings import Settings
from app.platform.db.database import Database
from app.platform.identity import attempt_limiter
from app.platform.kernel.client_addresses import address_of
from app.platform.kernel.tenant_scope import EVERYTHING, Caller, actor, working_for
from app.privacy_requests import service
from app.privacy_requests.schemas import RightsAsk, RightsRequestCreate, RightsRequestMade, RightsStatus

_HOUR_S: Final = 3600.0


class OfOwn(Protocol):
    """What somebody may do with a request of their own."""

    async def __call__(
        self, database: Database, asked: RightsAsk, settings: Settings, *, host: str | None
    ) -> RightsStatus:
        """Do it, and show what became of the request."""
        ...


_WHO: Final = Caller(EVERYTHING, actor("anybody", None, "who makes a request"))


async def make(
    database: Database, body: RightsRequestCreate, settings: Settings, *, host: str | None
) -> RightsRequestMade:
    """Take a request.

    Raises:
        NotFoundError: There is no such site.
        TooManyRequestsError: `too_many_attempts`, of the address or for the organisation.
    """
    now = datetime.now(UTC)
    limits = settings.rights
    with working_for(_WHO):
        async with database.read() as reader:
            owner = await service.owner_of(reader, body.site_id)
    counted = {
        f"rights:{address_of(host)}": limits.per_address,
        f"rights-for:{owner}": limits.per_organisation,
    }
    await attempt_limiter.count_all(database, counted, window_s=_HOUR_S)
    with working_for(_WHO):
        async with database.write() as session:
            row, token = await service.add_request(session, body, owner, now)
            made = RightsRequestMade(
                reference=row.reference, token=token, received_at=row.received_at, due_at=row.due_at
            )
        await wake_after(database)
    return made


async def look(database: Database, asked: RightsAsk, settings: Settings, *, host: str | None) -> RightsStatus:
    """Show a request to who has its token.

    Raises:
        NotFoundError: There is none, or the token is another one's.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _count_look(database, settings, host)
    with working_for(_WHO):
        async with database.read() as session:
            return RightsStatus.of(await service.own_request(session, asked))


async def withdraw(
    database: Database, asked: RightsAsk, settings: Settings, *, host: str | None
) -> RightsStatus:
    """End a request because who made it wishes so.

    Raises:
        NotFoundError: There is none, or the token is another one's.
        ConflictError: `request_closed`.
        TooManyRequestsError: `too_many_attempts`.
    """
    await _count_look(database, settings, host)
    with working_for(_WHO):
        async with database.write() as session:
            row = await service.own_request(session, asked, lock=True)
            service.withdraw(row, datetime.now(UTC))
            await session.flush()
            return RightsStatus.of(row)


async def _count_look(database: Database, settings: Settings, host: str | None) -> None:
    subject = f"rights-look:{address_of(host)}"
    await attempt_limiter.count(database, subject, most=settings.rights.looks, window_s=_HOUR_S)
