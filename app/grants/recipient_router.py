"""Serves grants to their recipients: by a link the offer and its acceptance, by a key the grant itself.

A link's token works below `/v1/grant-offer` alone, and is no API key.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.grants import grant_uses, repository, service
from app.grants.grant_authentication import check_usable
from app.grants.grant_changes import (
    CONTENT_FIELDS,
    hash_content,
    hash_terms,
    read_content,
    read_offered_content,
)
from app.grants.models import Grant
from app.grants.recipient_schemas import GrantAccept, GrantAccepted, GrantOffer, RecipientGrantOut
from app.grants.schemas import (
    GrantKeyCreated,
    GrantKeyOut,
    GrantUseOut,
    fill_content,
    name_field,
    show_offered,
)
from app.platform.db.database import Database
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.identity.attempt_limiter import limit_attempt
from app.platform.identity.caller_authentication import Principal, current_principal
from app.platform.identity.grant_access import open_to_grants
from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.tenant_scope import (
    ScopedCaller,
    TenantScope,
    format_actor,
    run_as_caller,
    run_with_full_scope,
)

anonymous_router: Final = APIRouter(prefix="/v1/grant-offer", tags=["Grants"], route_class=AnonymousRoute)
router: Final = APIRouter(
    prefix="/v1/grant", tags=["Grants"], route_class=StrictRoute, responses=document_problems(403)
)
_ATTEMPTS: Final = 60
_ATTEMPTS_WINDOW_S: Final = 600.0
_bearer: Final = HTTPBearer(
    auto_error=False,
    scheme_name="GrantLink",
    description="The token of a grant's link, `vgo_…`. Only calls below `/v1/grant-offer` accept it.",
)
LinkToken = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


class AcceptedGrant(NamedTuple):
    """An accepted grant and its new key, if there is one."""

    grant: Grant
    key: service.NewKey | None


async def read_offer(database: Database, token: str | None, now: datetime) -> GrantOffer:
    """Read what the link of a grant offers (UnauthorisedError; `link_expired`)."""
    with run_with_full_scope():
        async with database.read() as session:
            grant = await service.find_offered_grant(session, token, now, lock=False)
            content = read_offered_content(grant)
            organisation, sites = await repository.read_names(session, grant, content["site_ids"])
            keys = await repository.count_working_keys(session, grant.id)
    offered = grant.offered if grant.accepted_at is not None and grant.offered is not None else {}
    return GrantOffer(
        organisation=organisation,
        recipient=grant.recipient,
        state=grant.state(now),
        content=fill_content(content, hash_terms(content["terms"])),
        content_hash=hash_content(content),
        sites=sites,
        changes=[name_field(each) for each in CONTENT_FIELDS if each in offered],
        has_key=keys > 0,
    )


async def accept_offer(
    database: Database, token: str | None, body: GrantAccept, address: str | None, now: datetime
) -> AcceptedGrant:
    """Accept what the link of a grant offers. The link stops working.

    Raises:
        UnauthorisedError: The link does not work; `link_expired`.
        ConflictError: `offer_changed`.
    """
    with run_with_full_scope():
        async with database.read() as reader:
            found = await service.find_offered_grant(reader, token, now, lock=False)
    scope = TenantScope.of([found.organisation_id])
    caller = ScopedCaller(scope, format_actor("grant_link", found.id, found.recipient), found.organisation_id)
    with run_as_caller(caller):
        async with database.write() as session:
            grant = await service.find_offered_grant(session, token, now, lock=True)
            key = await service.accept_grant(session, grant, body, address, now)
    return AcceptedGrant(grant, key)


async def limit_offers(database: Database, request: Request) -> None:
    """Limit how often an address may try links (TooManyRequestsError)."""
    address = request.client.host if request.client else "unknown"
    await limit_attempt(database, f"grant-link:{address}", most=_ATTEMPTS, window_s=_ATTEMPTS_WINDOW_S)


def _show_key(key: service.NewKey | None) -> GrantKeyCreated | None:
    if key is None:
        return None
    return GrantKeyCreated(**GrantKeyOut.of(key.row).model_dump(), key=key.key)


@anonymous_router.get(
    "",
    operation_id="get_grant_offer",
    summary="Read what the link of a grant offers",
    responses=document_problems(401, 429),
)
async def get_grant_offer(request: Request, token: LinkToken, database: DatabaseDependency) -> GrantOffer:
    """Read the offer of a link: the terms, and what can be read after their acceptance."""
    await limit_offers(database, request)
    return await read_offer(database, None if token is None else token.credentials, datetime.now(UTC))


@anonymous_router.post(
    "/acceptance",
    operation_id="accept_grant_offer",
    summary="Accept a grant",
    status_code=201,
    responses=document_problems(401, 409, 429),
)
async def accept_grant_offer(
    request: Request, token: LinkToken, body: GrantAccept, database: DatabaseDependency
) -> GrantAccepted:
    """Accept the offer of a link for the recipient. The response shows a key once: store it.

    Name, time, address and the accepted content with its hash are recorded. The link stops working.
    """
    await limit_offers(database, request)
    given = None if token is None else token.credentials
    address = request.client.host if request.client else None
    accepted = await accept_offer(database, given, body, address, datetime.now(UTC))
    content = read_content(accepted.grant)
    return GrantAccepted(
        content=fill_content(content, hash_terms(content["terms"])), key=_show_key(accepted.key)
    )


class GrantCaller(NamedTuple):
    """A caller with the key of a grant, and the grant's limits."""

    principal: Principal
    limits: GrantLimits


async def _recipient(principal: Annotated[Principal, Depends(current_principal)]) -> GrantCaller:
    limits = principal.tenant_scope.grant
    if limits is None:
        raise ForbiddenError(
            "Only the key of a grant opens this call. With your key, use GET /v1/grants.",
            code="grant_key_required",
        )
    return GrantCaller(principal, limits)


Recipient = Annotated[GrantCaller, Depends(_recipient)]
"""The caller with the key of a grant, or 403 `grant_key_required`."""


@router.get("", operation_id="get_own_grant", summary="Read the grant of the key")
@open_to_grants("grant")
async def get_own_grant(caller: Recipient, database: DatabaseDependency) -> RecipientGrantOut:
    """Read what the key of a grant opens, and what can be read now."""
    async with database.read() as session:
        grant = await repository.get_grant(session, str(caller.limits.grant_id), caller.principal.visible())
        organisation, _ = await repository.read_names(session, grant, [])
    content = read_content(grant)
    return RecipientGrantOut(
        id=grant.id,
        organisation=organisation,
        recipient=grant.recipient,
        state=grant.state(datetime.now(UTC)),
        content=fill_content(content, hash_terms(content["terms"])),
        readable={str(site): sorted(metrics) for site, metrics in caller.limits.site_metrics},
        offered=show_offered(grant),
    )


@router.get("/uses", operation_id="list_own_grant_uses", summary="List the uses of the key's grant")
@open_to_grants("grant")
async def list_own_grant_uses(
    caller: Recipient,
    database: DatabaseDependency,
    page_request: Annotated[PageRequest, Depends(grant_uses.GRANT_USES.page_request)],
) -> Page[GrantUseOut]:
    """List what was read by the grant, as the organisation that gave it sees it."""
    async with database.read() as session:
        rows = await grant_uses.list_grant_uses(session, caller.limits.grant_id, page_request)
    page, following = grant_uses.GRANT_USES.cut(rows, page_request)
    return Page(data=[GrantUseOut.of(row) for row in page], next=following)


@router.get("/keys", operation_id="list_own_grant_keys", summary="List the keys of the key's grant")
@open_to_grants("grant")
async def list_own_grant_keys(caller: Recipient, database: DatabaseDependency) -> Page[GrantKeyOut]:
    """List the keys of the grant, also revoked ones."""
    async with database.read() as session:
        rows = await repository.list_grant_keys(session, caller.limits.grant_id)
    return Page(data=[GrantKeyOut.of(row) for row in rows], next=None)


@router.post(
    "/keys",
    operation_id="create_own_grant_key",
    summary="Create another key of the key's grant",
    status_code=201,
    responses=document_problems(409),
)
@open_to_grants("grant")
async def create_own_grant_key(caller: Recipient, database: DatabaseDependency) -> GrantKeyCreated:
    """Create another key, to replace the present one without an interruption. It is shown once: store it."""
    now = datetime.now(UTC)
    async with database.write() as session:
        grant = await repository.get_grant(
            session, str(caller.limits.grant_id), caller.principal.visible(), lock=True
        )
        check_usable(grant, now)
        created = await service.create_key(session, grant, now)
    return GrantKeyCreated(**GrantKeyOut.of(created.row).model_dump(), key=created.key)


@router.delete(
    "/keys/{grant_key_id}",
    operation_id="revoke_own_grant_key",
    summary="Revoke a key of the key's grant",
    status_code=204,
)
@open_to_grants("grant")
async def revoke_own_grant_key(caller: Recipient, grant_key_id: str, database: DatabaseDependency) -> None:
    """Revoke a key of the grant: another one, as the call itself is recorded under the present key."""
    if grant_key_id.lower() == str(caller.principal.key_id):
        raise ForbiddenError(
            "A key cannot revoke itself. Create another one, and revoke this one with it.", code="own_key"
        )
    async with database.write() as session:
        await repository.revoke_key(session, caller.limits.grant_id, grant_key_id, datetime.now(UTC))
