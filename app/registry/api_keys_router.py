"""REST for API keys: made with no more scopes than the maker has, shown once, revoked rather than deleted."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import ApiKey
from app.platform.kernel.api_keys import generate_key, hash_key, make_key_hint
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import repository, service
from app.registry import service as key_expiry_rules
from app.registry.dependencies import (
    DefaultQuotas,
    NameFilter,
    OrganisationFilter,
    OrganisationsReader,
    OrganisationsWriter,
    check_expiry,
)
from app.registry.quota_service import check_quota
from app.registry.schemas import KeyChange, KeyCreate, KeyCreated, KeyOut

router: Final = APIRouter(prefix="/v1/api-keys", tags=["Organisations"], route_class=StrictRoute)
_Asked = Annotated[PageRequest, Depends(repository.API_KEYS.page_request)]


async def _get(session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False) -> ApiKey:
    row = await repository.find_api_key(session, parse_id(identifier, "API key"), visible, lock=lock)
    if row is None:
        raise NotFoundError("API key", identifier)
    return row


@router.post(
    "",
    operation_id="create_api_key",
    summary="Create an API key",
    status_code=201,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def create_api_key(
    body: KeyCreate, principal: OrganisationsWriter, session: WriteSessionDep, defaults: DefaultQuotas
) -> KeyCreated:
    """Make a key. It is shown in the answer and never again.

    It cannot do more than the key that makes it, nor last longer.
    """
    now = datetime.now(UTC)
    service.check_scopes_covered(principal, body.scopes)
    key_expiry_rules.check_expiry_within_key(principal, None, body.expires_at)
    check_expiry(body.expires_at, now)
    organisation = await service.resolve_organisation(session, principal, body.organisation_id)
    await service.check_key_sites(session, principal, organisation, body.site_ids)
    key = generate_key()
    row = ApiKey(
        id=new_id(),
        organisation_id=organisation.id,
        name=body.name,
        hint=make_key_hint(key),
        hash=hash_key(key),
        scopes=body.scopes,
        site_ids=body.site_ids,
        # A client's key never speaks for the platform, not even one that the platform made for it.
        platform=principal.platform and organisation.platform and body.site_ids is None,
        created_at=now,
        expires_at=body.expires_at,
    )
    session.add(row)
    await session.flush()
    await check_quota(session, "api_keys", {row.organisation_id: 1}, defaults, principal.visible())
    return KeyCreated(**KeyOut.of(row).model_dump(), key=key)


@router.get(
    "", operation_id="list_api_keys", summary="List API keys", responses=document_problems(401, 403, 422)
)
async def list_api_keys(
    principal: OrganisationsReader,
    session: ReadSessionDep,
    asked: _Asked,
    *,
    organisation: OrganisationFilter = None,
    revoked: Annotated[bool, Query(description="Those that were revoked, instead of those in use")] = False,
    q: NameFilter = None,
) -> Page[KeyOut]:
    """API keys, by default the oldest first: how each begins, never the key."""
    rows = await repository.list_api_keys(
        session, principal.visible(), asked, organisation=organisation, revoked=revoked, search=q
    )
    page, following = repository.API_KEYS.cut(rows, asked)
    return Page(data=[KeyOut.of(row) for row in page], next=following)


@router.get(
    "/{key_id}",
    operation_id="get_api_key",
    summary="Read an API key",
    responses=document_problems(401, 403, 404),
)
async def get_api_key(key_id: str, principal: OrganisationsReader, session: ReadSessionDep) -> KeyOut:
    """One API key that is in use, without the key."""
    return KeyOut.of(await _get(session, key_id, principal.visible()))


@router.patch(
    "/{key_id}",
    operation_id="update_api_key",
    summary="Change an API key",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def update_api_key(
    key_id: str,
    body: KeyChange,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> KeyOut:
    """Change the name or the end of a key that may do no more than the caller's.

    A key that ends prolongs neither itself nor another one beyond its own end.
    """
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(KeyOut.of(row))
    service.check_scopes_covered(principal, row.scopes)
    if "expires_at" in body.model_fields_set:
        key_expiry_rules.check_expiry_within_key(principal, row.id, body.expires_at)
        check_expiry(body.expires_at, datetime.now(UTC))
    for name, value in collect_sent_fields(body).items():
        setattr(row, name, value)
    await session.flush()
    return KeyOut.of(row)


@router.delete(
    "/{key_id}",
    operation_id="revoke_api_key",
    summary="Revoke an API key",
    status_code=204,
    responses=document_problems(401, 403, 404),
)
async def revoke_api_key(
    key_id: str, principal: OrganisationsWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Refuse a key from now on. It stays in `GET /v1/api-keys?revoked=true`.

    A key revokes itself, and others that may do no more than it may.
    """
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(KeyOut.of(row))
    if row.id != principal.key_id:
        service.check_scopes_covered(principal, row.scopes, to="revoke")
    row.revoked_at = datetime.now(UTC)
