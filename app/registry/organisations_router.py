"""Serves the REST endpoints of organisations. Platform administrators and integrators create them."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy.exc import IntegrityError

from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.registry import organisation_repository
from app.registry.dependencies import (
    DefaultQuotas,
    NameFilter,
    OrganisationsReader,
    OrganisationsWriter,
)
from app.registry.models import Organisation
from app.registry.organisation_and_site_schemas import (
    OrganisationChange,
    OrganisationCreate,
    OrganisationOut,
)
from app.registry.organisation_repository import count_deletion_blockers, make_not_empty_error
from app.registry.quota_service import check_quota

OrganisationKind = Literal["platform", "integrator", "client"]

router: Final = APIRouter(prefix="/v1/organisations", tags=["Organisations"], route_class=StrictRoute)
_PageQuery = Annotated[PageRequest, Depends(organisation_repository.ORGANISATIONS.page_request)]


async def _parent(session: WriteSession, principal: Principal, body: OrganisationCreate) -> Organisation:
    """Find the parent of a new organisation.

    Raises:
        ForbiddenError: The caller is a client: clients cannot have clients.
        NotFoundError: The parent does not exist.
        InvalidError: `invalid_parent`: an integrator's parent must be the platform; a client's parent must be
            the platform or an integrator.
    """
    identifier = body.parent_id or principal.organisation_id
    parent = await organisation_repository.find_organisation(session, identifier, principal.visible())
    if parent is None:
        raise NotFoundError("organisation", identifier)
    if parent.kind == "client":
        if body.parent_id is not None and principal.platform:
            raise InvalidError("A client cannot have clients.", code="invalid_parent").at("body.parent_id")
        raise ForbiddenError("Only the platform's administrators and integrators can create organisations.")
    if body.kind == "integrator" and parent.kind != "platform":
        raise InvalidError("The parent of an integrator must be the platform.", code="invalid_parent").at(
            "body.parent_id"
        )
    return parent


@router.post("", summary="Create an organisation", status_code=201, responses=document_problems(404))
async def create_organisation(
    body: OrganisationCreate,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    defaults: DefaultQuotas,
) -> OrganisationOut:
    """Create an organisation. Platform administrators can create any, integrators only their clients.

    Then create an API key for it, with `POST /v1/api-keys`.
    """
    parent = await _parent(session, principal, body)
    now = datetime.now(UTC)
    row = Organisation(
        id=new_id(),
        name=body.name,
        platform=False,
        kind=body.kind,
        parent_id=parent.id,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    if parent.kind == "integrator":
        await check_quota(session, "clients", {parent.id: 1}, defaults, principal.visible())
    return OrganisationOut.of(row)


@router.get("", summary="List organisations")
async def list_organisations(
    principal: OrganisationsReader,
    session: ReadSessionDep,
    page_request: _PageQuery,
    *,
    kind: Annotated[OrganisationKind | None, Query(description="Only of this kind")] = None,
    parent: Annotated[Identifier | None, Query(description="Only clients of this integrator")] = None,
    q: NameFilter = None,
) -> Page[OrganisationOut]:
    """List the organisations that you can access, by default the oldest first.

    Platform administrators see all of them, integrators their own organisation and their clients.
    """
    rows = await organisation_repository.list_organisations(
        session, principal.visible(), page_request, kind=kind, parent=parent, search=q
    )
    page, following = organisation_repository.ORGANISATIONS.cut(rows, page_request)
    return Page(data=[OrganisationOut.of(row) for row in page], next=following)


@router.get("/{organisation_id}", summary="Read an organisation")
async def get_organisation(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep
) -> OrganisationOut:
    """Read an organisation."""
    row = await organisation_repository.get_organisation(session, organisation_id, principal.visible())
    return OrganisationOut.of(row)


@router.patch("/{organisation_id}", summary="Change an organisation")
async def update_organisation(
    organisation_id: str,
    body: OrganisationChange,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> OrganisationOut:
    """Change the given fields."""
    row = await organisation_repository.get_organisation(
        session, organisation_id, principal.visible(), lock=True
    )
    matching.check(OrganisationOut.of(row))
    for name, value in collect_sent_fields(body).items():
        setattr(row, name, value)
        row.updated_at = datetime.now(UTC)
    await session.flush()
    return OrganisationOut.of(row)


@router.delete(
    "/{organisation_id}",
    summary="Delete an organisation",
    status_code=204,
    responses=document_problems(409),
)
async def delete_organisation(
    organisation_id: str, principal: OrganisationsWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Delete an organisation that has no clients, sites, boxes, rules or webhooks left, and its API keys.

    Otherwise the error `organisation_not_empty` counts in `remaining` what must be deleted first. Platform
    administrators and the organisation's integrator can delete it; a key of the organisation itself cannot.
    """
    row = await organisation_repository.get_organisation(
        session, organisation_id, principal.visible(), lock=True
    )
    matching.check(OrganisationOut.of(row))
    if row.platform:
        raise ConflictError(
            "The platform's own organisation cannot be deleted.", code="platform_organisation"
        )
    if row.id == principal.organisation_id:
        raise ForbiddenError(
            "An organisation cannot delete itself. Ask its integrator or an administrator of the platform."
        )
    if remaining := await count_deletion_blockers(session, row.id):
        raise make_not_empty_error(remaining)
    try:
        await session.delete(row)
        await session.flush()
    except IntegrityError:
        raise make_not_empty_error({}) from None
