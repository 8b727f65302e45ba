"""What the audit log is told of people besides their changes: who was shown them, and who was not let in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from app.audit.audit_recorder import AccessedSubject, record_access, record_event
from app.people import repository
from app.people.context import PeopleContext
from app.people.models import Invitation, Membership, User
from app.platform.db.database import DATABASE_ERRORS, WriteSession, suspend_commit_step
from app.platform.kernel.errors import (
    ForbiddenError,
    NotFoundError,
    UnauthorisedError,
    UnavailableError,
    VigieError,
)
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger

_log = get_logger(__name__)
_REFUSALS: Final = (UnauthorisedError, ForbiddenError, NotFoundError)


async def record_members(session: WriteSession, shown: Sequence[Membership]) -> None:
    """Record that a caller is shown members (UnavailableError `audit_unavailable`)."""
    await record_access(session, "member", [AccessedSubject(row.organisation_id, row.id) for row in shown])


async def record_invitations(session: WriteSession, shown: Sequence[Invitation]) -> None:
    """Record that a caller is shown invitations (UnavailableError `audit_unavailable`)."""
    await record_access(
        session, "invitation", [AccessedSubject(row.organisation_id, row.id) for row in shown]
    )


@asynccontextmanager
async def record_sign_in_refusals(people: PeopleContext, user: User | None) -> AsyncIterator[None]:
    """Record it where a block does not let somebody in.

    Args:
        people: What this stands on.
        user: Whose account it is; None where there is none.
    """
    try:
        yield
    except _REFUSALS as error:
        await _record_refusal(people, user, error)
        raise


async def _record_refusal(people: PeopleContext, user: User | None, error: VigieError) -> None:
    """Record it in the logs of the account's organisations; without an account in that of nobody.

    Both are written to: whoever asks must not learn from the time that it takes which of them it was. What
    cannot be written is told in the program's log, and stays refused all the same.
    """
    try:
        # Nothing was carried out: the request's Idempotency-Key stays free.
        with run_with_full_scope(), suspend_commit_step():
            async with people.database.write() as session:
                places = [] if user is None else await repository.list_memberships(session, user.id)
                await record_event(
                    session,
                    [place.organisation.id for place in places],
                    "session.refused",
                    kind="user",
                    identifier=None if user is None else user.id,
                    details={"code": error.code},
                )
    except (*DATABASE_ERRORS, UnavailableError) as failure:
        _log.warning("refusal_not_recorded", path="sign-in", error=repr(failure))
