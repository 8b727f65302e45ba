"""Serves the REST endpoints of API keys.

A key has at most the scopes of the key that creates it. It is shown once, and revoked rather than deleted.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.api_keys import ApiKey
from app.platform.identity.key_revocation_protocol import IssuedTokenInvalidatorDependency
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.platform.kernel.secret_tokens import generate_key, hash_key, make_key_hint
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import box_service, organisation_repository
from app.registry.dependencies import (
    DefaultQuotas,
    NameFilter,
    OrganisationFilter,
    OrganisationsReader,
    OrganisationsWriter,
    check_expiry,
)
from app.registry.organisation_and_site_schemas import KeyChange, KeyCreate, KeyCreated, KeyOut
from app.registry.quota_service import check_quota

router: Final = APIRouter(prefix="/v1/api-keys", tags=["Organisations"], route_class=StrictRoute)
_PageQuery = Annotated[PageRequest, Depends(organisation_repository.API_KEYS.page_request)]


async def _get(session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False) -> ApiKey:
    row = await organisation_repository.find_api_key(
        session, parse_id(identifier, "API key"), visible, lock=lock
    )
    if row is None:
        raise NotFoundError("API key", identifier)
    return row


@router.post("", summary="Create an API key", status_code=201, responses=document_problems(404))
async def create_api_key(
    body: KeyCreate, principal: OrganisationsWriter, session: WriteSessionDep, defaults: DefaultQuotas
) -> KeyCreated:
    """Create an API key. The response shows it once: store it.

    It cannot have more scopes than the key that creates it, nor expire later.
    """
    now = datetime.now(UTC)
    box_service.check_scopes_covered(principal, body.scopes)
    box_service.check_expiry_within_key(principal, None, body.expires_at)
    check_expiry(body.expires_at, now)
    organisation = await box_service.resolve_organisation(session, principal, body.organisation_id)
    await box_service.check_key_sites(session, principal, organisation, body.site_ids)
    key = generate_key()
    row = ApiKey(
        id=new_id(),
        organisation_id=organisation.id,
        name=body.name,
        hint=make_key_hint(key),
        hash=hash_key(key),
        scopes=body.scopes,
        site_ids=body.site_ids,
        # A client's key never has platform rights, not even one that the platform created.
        platform=principal.platform and organisation.platform and body.site_ids is None,
        created_at=now,
        expires_at=body.expires_at,
    )
    session.add(row)
    await session.flush()
    await check_quota(session, "api_keys", {row.organisation_id: 1}, defaults, principal.visible())
    return KeyCreated(**KeyOut.of(row).model_dump(), key=key)


@router.get("", summary="List API keys")
async def list_api_keys(
    principal: OrganisationsReader,
    session: ReadSessionDep,
    page_request: _PageQuery,
    *,
    organisation: OrganisationFilter = None,
    revoked: Annotated[bool, Query(description="List revoked keys instead of keys in use")] = False,
    q: NameFilter = None,
) -> Page[KeyOut]:
    """List API keys, by default the oldest first. `hint` shows how a key begins; the key is never shown."""
    rows = await organisation_repository.list_api_keys(
        session, principal.visible(), page_request, organisation=organisation, revoked=revoked, search=q
    )
    page, following = organisation_repository.API_KEYS.cut(rows, page_request)
    return Page(data=[KeyOut.of(row) for row in page], next=following)


@router.get("/{key_id}", summary="Read an API key")
async def get_api_key(key_id: str, principal: OrganisationsReader, session: ReadSessionDep) -> KeyOut:
    """Read an API key that is in use. The key itself is never shown."""
    return KeyOut.of(await _get(session, key_id, principal.visible()))


@router.patch("/{key_id}", summary="Change an API key")
async def update_api_key(
    key_id: str,
    body: KeyChange,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> KeyOut:
    """Change the name or the expiry of a key. The caller needs all of its scopes.

    A key that expires cannot extend itself, or another key, beyond its own expiry.
    """
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(KeyOut.of(row))
    box_service.check_scopes_covered(principal, row.scopes)
    if "expires_at" in body.model_fields_set:
        box_service.check_expiry_within_key(principal, row.id, body.expires_at)
        check_expiry(body.expires_at, datetime.now(UTC))
    for name, value in collect_sent_fields(body).items():
        setattr(row, name, value)
    await session.flush()
    return KeyOut.of(row)


@router.delete("/{key_id}", summary="Revoke an API key", status_code=204)
async def revoke_api_key(
    key_id: str,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
    invalidate_issued_tokens: IssuedTokenInvalidatorDependency,
) -> None:
    """Revoke a key: requests with it are refused from now on. `GET /v1/api-keys?revoked=true` still lists it.

    Open invitations and tokens for new passwords that the key created become invalid. A key can revoke
    itself, and other keys if it has all of their scopes.
    """
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(KeyOut.of(row))
    if row.id != principal.key_id:
        box_service.check_scopes_covered(principal, row.scopes, to="revoke")
    now = datetime.now(UTC)
    row.revoked_at = now
    await invalidate_issued_tokens(session, row.id, now)
