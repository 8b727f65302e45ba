"""REST for signing in and out."""

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request
from sqlalchemy import select

from app.people import password_service, repository, sign_in
from app.people.context import PeopleDependency, Person, TokenHash
from app.people.models import User, UserSession
from app.people.schemas import PasswordReset, SessionCreated, SignedIn, SignIn, Switch
from app.people.sessions import ClientInfo
from app.platform.http.contract.dependencies import WriteSessionDep
from app.platform.http.contract.problems import document_problems
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
    responses=document_problems(400, 401, 403, 404, 413, 415, 422, 429, 503),
)
async def sign_in_with_password(body: SignIn, request: Request, people: PeopleDependency) -> SessionCreated:
    """Sign in with a password. The token is for `Authorization: Bearer vgs_…`, on every call.

    It works for one organisation, by default the one that the person joined first; `POST /v1/sessions/switch`
    changes it. Who has several accounts under one address says by the organisation which one is meant. A
    wrong address and a wrong password look the same. Tries are limited by the caller's address and by the
    account (429). Past so many sign-ins at once the person's oldest one ends.
    """
    return await sign_in.sign_in_by_password(people, body, ClientInfo.of(request), datetime.now(UTC))


@anonymous_router.post(
    "/passwords/reset",
    operation_id="reset_password",
    summary="Choose a new password",
    status_code=204,
    responses=document_problems(400, 401, 413, 415, 422, 429, 503),
)
async def reset_password(body: PasswordReset, request: Request, people: PeopleDependency) -> None:
    """Choose a new password with a token from an owner of one's organisation. It ends all sign-ins."""
    wanted = body.password.get_secret_value()
    await password_service.reset_password(
        people, body.token, wanted, ClientInfo.of(request), datetime.now(UTC)
    )


@router.post(
    "/switch",
    operation_id="switch_organisation",
    summary="Work for another organisation",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def switch_organisation(
    body: Switch, principal: Person, token: TokenHash, people: PeopleDependency
) -> SignedIn:
    """Have the token of this call work for another organisation of the person's from now on."""
    # Of the organisations that are not worked for just now, the database shows nothing.
    with run_with_full_scope():
        async with people.database.write() as session:
            # Whoever takes the person out of the organisation, and ends their sign-ins there, comes before or
            # after this.
            person = select(User).where(User.id == principal.key_id).with_for_update()
            user = (await session.scalars(person)).one()
            wanted = select(UserSession).where(UserSession.token_hash == token)
            held = (await session.scalars(wanted)).one()
            places = await repository.list_memberships(session, principal.key_id)
            if body.organisation_id not in {place.organisation.id for place in places}:
                raise NotFoundError("organisation", body.organisation_id)
            held.organisation_id = body.organisation_id
            await session.flush()
            return SignedIn.of(held, user, places)


@router.delete(
    "/current",
    operation_id="sign_out",
    summary="Sign out",
    status_code=204,
    responses=document_problems(401, 403),
)
async def sign_out(_: Person, token: TokenHash, session: WriteSessionDep) -> None:
    """End the sign-in that this call is made with."""
    held = (await session.scalars(select(UserSession).where(UserSession.token_hash == token))).one()
    held.revoked_at = datetime.now(UTC)
