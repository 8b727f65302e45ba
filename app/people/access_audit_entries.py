"""Records in the audit log who was shown personal data of members, and which sign-ins were refused."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from app.audit.audit_recorder import AccessedSubject, record_access, record_event
from app.people import repository
from app.people.models import Invitation, Membership, User
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.commit_steps import suspend_commit_step
from app.platform.db.database import DATABASE_ERRORS, WriteSession
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
    """Record the refusal if the block refuses a sign-in.

    Args:
        people: The dependencies of sign-in.
        user: The account; None: no account matches.
    """
    try:
        yield
    except _REFUSALS as error:
        await _record_refusal(people, user, error)
        raise


async def _record_refusal(people: PeopleContext, user: User | None, error: VigieError) -> None:
    """Record a refusal in the audit logs of the account's organisations, or without an organisation.

    A record is written in both cases, so that the response time does not show whether there is an account. If
    the record cannot be written, the failure is logged, and the sign-in stays refused.
    """
    try:
        # Nothing was executed, so the request's idempotency key must not be used up.
        with run_with_full_scope(), suspend_commit_step():
            async with people.database.write() as session:
                memberships = [] if user is None else await repository.list_memberships(session, user.id)
                await record_event(
                    session,
                    [each.organisation.id for each in memberships],
                    "session.refused",
                    kind="user",
                    identifier=None if user is None else user.id,
                    details={"code": error.code},
                )
    except (*DATABASE_ERRORS, UnavailableError) as failure:
        _log.warning("refusal_not_recorded", path="sign-in", error=repr(failure))
