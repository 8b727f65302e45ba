"""Serves the REST endpoints of sign-in by password, sign-out, password reset and change of organisation."""

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request
from sqlalchemy import select

from app.people import password_service, repository, sign_in
from app.people.models import UserSession
from app.people.schemas import PasswordReset, SessionCreated, SignedIn, SignIn, Switch
from app.people.sessions import ClientInfo
from app.people.sign_in_dependencies import PeopleDependency, Person, TokenHash
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import WriteSessionDep
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import run_with_full_scope

router: Final = APIRouter(prefix="/v1/sessions", tags=["Sign-in"], route_class=StrictRoute)
anonymous_router: Final = APIRouter(prefix="/v1", tags=["Sign-in"], route_class=AnonymousRoute)


@anonymous_router.post(
    "/sessions",
    operation_id="sign_in",
    summary="Sign in",
    status_code=201,
    responses=document_problems(401, 403, 404),
)
async def sign_in_with_password(body: SignIn, request: Request, people: PeopleDependency) -> SessionCreated:
    """Sign in with a password. Send the token with every request as `Authorization: Bearer vgs_…`.

    The token works for one organisation, by default the one that you joined first; `POST /v1/sessions/switch`
    changes it. If you have several accounts with the same address, `organisation_id` selects one. A wrong
    address and a wrong password get the same answer. Attempts are limited by client address and by account
    (429). The number of concurrent sign-ins is limited too: a new one ends the oldest.
    """
    return await sign_in.sign_in_by_password(people, body, ClientInfo.of(request), datetime.now(UTC))


@anonymous_router.post(
    "/passwords/reset",
    summary="Choose a new password",
    status_code=204,
    responses=document_problems(401),
)
async def reset_password(body: PasswordReset, request: Request, people: PeopleDependency) -> None:
    """Choose a new password with a reset token from an owner of your organisation. All your sign-ins end."""
    new_password = body.password.get_secret_value()
    await password_service.reset_password(
        people, body.token, new_password, ClientInfo.of(request), datetime.now(UTC)
    )


@router.post("/switch", summary="Work for another organisation", responses=document_problems(403, 404))
async def switch_organisation(
    body: Switch, principal: Person, token: TokenHash, people: PeopleDependency
) -> SignedIn:
    """Switch the sign-in of this request to another organisation of the person."""
    # Row-level security hides the person's other organisations.
    with run_with_full_scope():
        async with people.database.write() as session:
            # The lock serialises this with a removal from the organisation, which ends the sign-ins there.
            user = await repository.lock_user(session, principal.key_id)
            own_session = select(UserSession).where(UserSession.token_hash == token)
            row = (await session.scalars(own_session)).one()
            memberships = await repository.list_memberships(session, principal.key_id)
            if body.organisation_id not in {each.organisation.id for each in memberships}:
                raise NotFoundError("organisation", body.organisation_id)
            row.organisation_id = body.organisation_id
            await session.flush()
            return SignedIn.of(row, user, memberships)


@router.delete("/current", summary="Sign out", status_code=204, responses=document_problems(403))
async def sign_out(_: Person, token: TokenHash, session: WriteSessionDep) -> None:
    """End the sign-in of this request."""
    row = (await session.scalars(select(UserSession).where(UserSession.token_hash == token))).one()
    row.revoked_at = datetime.now(UTC)
