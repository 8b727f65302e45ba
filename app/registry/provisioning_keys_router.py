"""Serves the REST endpoints of provisioning keys, and the one with which boxes register themselves."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    WriteSessionDep,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import AnonymousRoute, StrictRoute
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.tenant_scope import TenantScope
from app.registry import enrolment_repository, enrolment_service
from app.registry.box_schemas import BoxCreated
from app.registry.box_service import check_expiry_within_key
from app.registry.dependencies import (
    EnrolmentDependency,
    NameFilter,
    NewBoxLimitsDependency,
    OrganisationFilter,
    OrganisationsReader,
    OrganisationsWriter,
    check_expiry,
    sync_broker_accounts,
)
from app.registry.enrolment_schemas import (
    NewBox,
    ProvisioningKeyChange,
    ProvisioningKeyCreate,
    ProvisioningKeyCreated,
    ProvisioningKeyOut,
)
from app.registry.models import ProvisioningKey

router: Final = APIRouter(tags=["Enrolment"], route_class=StrictRoute)
_PageQuery = Annotated[PageRequest, Depends(enrolment_repository.PROVISIONING_KEYS.page_request)]
anonymous_router: Final = APIRouter(tags=["Enrolment"], route_class=AnonymousRoute)
_KEYS: Final = "/v1/provisioning-keys"
_bearer: Final = HTTPBearer(
    auto_error=False,
    scheme_name="ProvisioningKey",
    description="A provisioning key, `vgp_…`. Only `POST /v1/provision` accepts it.",
)


async def _get(
    session: AsyncSession, identifier: str, visible: TenantScope, *, lock: bool = False
) -> ProvisioningKey:
    key_id = parse_id(identifier, "provisioning key")
    row = await enrolment_repository.find_provisioning_key(session, key_id, visible, lock=lock)
    if row is None:
        raise NotFoundError("provisioning key", identifier)
    return row


@anonymous_router.post(
    "/v1/provision",
    summary="Register a box with a provisioning key",
    status_code=201,
    responses=document_problems(403, 404, 409),
)
async def provision_box(
    *,
    body: NewBox,
    request: Request,
    database: DatabaseDependency,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    settings: EnrolmentDependency,
    limits: NewBoxLimitsDependency,
) -> BoxCreated:
    """Register the calling box. The response shows its credentials once: store them.

    If the id is registered already, the answer is 409 (`box_exists`) without credentials. The answer is 404
    (`enrolment_off`) unless boxes may register themselves; by default they may not.
    """
    enrolment_service.check_enrolment_enabled(settings)
    key = bearer.credentials if bearer else None
    created = await enrolment_service.provision_box(database, key, body, limits, datetime.now(UTC))
    await sync_broker_accounts(request, database)
    return BoxCreated.with_password(created.box, created.password)


@router.post(_KEYS, summary="Create a provisioning key", status_code=201, responses=document_problems(404))
async def create_provisioning_key(
    body: ProvisioningKeyCreate,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    settings: EnrolmentDependency,
) -> ProvisioningKeyCreated:
    """Create a provisioning key for a fleet. The response shows it once: store it. Needs `sites:write` too.

    The answer is 404 (`enrolment_off`) unless boxes may register themselves; by default they may not.
    """
    enrolment_service.check_enrolment_enabled(settings)
    enrolment_service.check_key_grant(principal)
    now = datetime.now(UTC)
    check_expiry(body.expires_at, now)
    row, key = await enrolment_service.make_provisioning_key(session, principal, body, now)
    return ProvisioningKeyCreated.of(row, key=key)


@router.get(_KEYS, summary="List provisioning keys")
async def list_provisioning_keys(
    principal: OrganisationsReader,
    session: ReadSessionDep,
    page_request: _PageQuery,
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only for this site")] = None,
    revoked: Annotated[bool, Query(description="List revoked keys instead of keys in use")] = False,
    q: NameFilter = None,
) -> Page[ProvisioningKeyOut]:
    """List provisioning keys, by default the oldest first. `hint` shows how a key begins, never all of it."""
    rows = await enrolment_repository.list_provisioning_keys(
        session,
        principal.visible(),
        page_request,
        organisation=organisation,
        site=site,
        revoked=revoked,
        search=q,
    )
    page, following = enrolment_repository.PROVISIONING_KEYS.cut(rows, page_request)
    return Page(data=[ProvisioningKeyOut.of(row) for row in page], next=following)


@router.get(f"{_KEYS}/{{key_id}}", summary="Read a provisioning key")
async def get_provisioning_key(
    key_id: str, principal: OrganisationsReader, session: ReadSessionDep
) -> ProvisioningKeyOut:
    """Read a provisioning key. The key itself is never shown."""
    return ProvisioningKeyOut.of(await _get(session, key_id, principal.visible()))


@router.patch(f"{_KEYS}/{{key_id}}", summary="Change a provisioning key")
async def update_provisioning_key(
    key_id: str,
    body: ProvisioningKeyChange,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> ProvisioningKeyOut:
    """Change the name, the expiry or the limit of a key. The caller needs `sites:write` too."""
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(ProvisioningKeyOut.of(row))
    enrolment_service.check_key_grant(principal)
    changes = collect_sent_fields(body)
    check_expiry(changes.get("expires_at"), datetime.now(UTC))
    if "expires_at" in changes:
        check_expiry_within_key(principal, None, changes["expires_at"])
    for name, value in changes.items():
        setattr(row, "box_limit" if name == "limit" else name, value)
    await session.flush()
    return ProvisioningKeyOut.of(row)


@router.delete(f"{_KEYS}/{{key_id}}", summary="Revoke a provisioning key", status_code=204)
async def revoke_provisioning_key(
    key_id: str, principal: OrganisationsWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Revoke a key: it registers no more boxes. Boxes that it registered are not affected."""
    row = await _get(session, key_id, principal.visible(), lock=True)
    matching.check(ProvisioningKeyOut.of(row))
    row.revoked_at = row.revoked_at or datetime.now(UTC)
