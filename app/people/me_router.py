"""Serves the REST endpoints about the caller: identity, own data, password and own sign-ins."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy import select, update

from app.people import password_service, repository
from app.people.models import User, UserSession
from app.people.schemas import (
    Me,
    MeChange,
    OrganisationRef,
    PasswordChange,
    PersonOut,
    PlaceOut,
    SessionOut,
)
from app.people.sessions import ClientInfo, is_session_active
from app.people.sign_in_dependencies import PeopleDependency, Person, TokenHash
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest, SortOrders, instant_sort_key, uuid_sort_key
from app.platform.http.contract.strict_body import AccountRoute
from app.platform.identity.caller_authentication import Principal, current_principal
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.registry.models import Organisation
from app.registry.site_repository import find_home_zone

router: Final = APIRouter(prefix="/v1/me", tags=["Sign-in"], route_class=AccountRoute)
_WHAT: Final = "sign-in"


@router.get("", summary="Read the caller")
async def get_me(principal: Annotated[Principal, Depends(current_principal)], people: PeopleDependency) -> Me:
    """Read the caller's identity, organisation and scopes; for a person, all memberships too."""
    # Row-level security hides the person's other organisations.
    with run_with_full_scope():
        async with people.database.read() as session:
            memberships, user = [], None
            if principal.kind == "user":
                memberships = await repository.list_memberships(session, principal.key_id)
                user = await session.get(User, principal.key_id)
            organisation = await session.get(Organisation, principal.organisation_id)
            zone = await find_home_zone(session, principal.tenant_scope, principal.organisation_id)
    if organisation is None:
        raise NotFoundError("organisation", principal.organisation_id)
    sites = principal.tenant_scope.sites
    return Me(
        kind="key" if user is None else "user",
        id=principal.key_id,
        name=principal.name,
        organisation=OrganisationRef.of(organisation),
        timezone=zone,
        platform=principal.platform,
        scopes=sorted(principal.scopes),
        site_ids=None if sites is None else list(sites),
        second_factor=principal.second_factor,
        mail_configured=people.installation.smtp.host is not None,
        user=None if user is None else PersonOut.of(user),
        memberships=[PlaceOut.of(each) for each in memberships],
    )


@router.patch("", summary="Change your name or language", responses=document_problems(403))
async def update_me(body: MeChange, principal: Person, session: WriteSessionDep) -> PersonOut:
    """Change the given fields. The address cannot change: invitations are for it."""
    user = await repository.lock_user(session, principal.key_id)
    for name, value in collect_sent_fields(body).items():
        setattr(user, name, value)
        user.updated_at = datetime.now(UTC)
    await session.flush()
    return PersonOut.of(user)


@router.post("/password", summary="Change your password", status_code=204, responses=document_problems(403))
async def change_password(
    body: PasswordChange, request: Request, principal: Person, token: TokenHash, people: PeopleDependency
) -> None:
    """Change your password. All your other sign-ins end."""
    await password_service.change_password(
        people,
        principal.key_id,
        body.current_password.get_secret_value(),
        body.new_password.get_secret_value(),
        token=token,
        origin=ClientInfo.of(request),
        now=datetime.now(UTC),
    )


_SESSIONS: Final = SortOrders(
    "my_sessions",
    (uuid_sort_key(UserSession.id),),
    {"created_at": (), "last_used_at": (instant_sort_key(UserSession.last_used_at),)},
    "created_at",
)


@router.get("/sessions", summary="List your sign-ins", responses=document_problems(403))
async def list_my_sessions(
    principal: Person,
    token: TokenHash,
    people: PeopleDependency,
    session: ReadSessionDep,
    page_request: Annotated[PageRequest, Depends(_SESSIONS.page_request)],
) -> Page[SessionOut]:
    """List your active sign-ins for all organisations, by default the oldest first."""
    statement = select(UserSession).where(UserSession.user_id == principal.key_id)
    statement = statement.where(is_session_active(people.settings, datetime.now(UTC)))
    rows = (await session.scalars(_SESSIONS.page(statement, page_request))).all()
    page, following = _SESSIONS.cut(rows, page_request)
    return Page(data=[SessionOut.of(row, token) for row in page], next=following)


@router.delete(
    "/sessions/{session_id}",
    summary="End one of your sign-ins",
    status_code=204,
    responses=document_problems(403),
)
async def end_my_session(
    session_id: str, principal: Person, people: PeopleDependency, session: WriteSessionDep
) -> None:
    """End one of your sign-ins, for example that of a lost device."""
    now = datetime.now(UTC)
    end = update(UserSession).where(
        UserSession.id == parse_id(session_id, _WHAT),
        UserSession.user_id == principal.key_id,
        is_session_active(people.settings, now),
    )
    if await session.scalar(end.values(revoked_at=now).returning(UserSession.id)) is None:
        raise NotFoundError(_WHAT, session_id)
