"""REST for organisations: the platform's administrators make them, everybody sees its own."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy.exc import IntegrityError

from app.platform.db.database import WriteSession
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import Identifier, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id, parse_id
from app.registry import repository
from app.registry.dependencies import (
    DefaultQuotas,
    NameFilter,
    OrganisationsReader,
    OrganisationsWriter,
)
from app.registry.models import Organisation
from app.registry.quota_service import check_quota
from app.registry.repository import count_deletion_blockers, make_not_empty_error
from app.registry.schemas import OrganisationChange, OrganisationCreate, OrganisationOut

OrganisationKind = Literal["platform", "integrator", "client"]

router: Final = APIRouter(prefix="/v1/organisations", tags=["Organisations"], route_class=StrictRoute)
_Asked = Annotated[PageRequest, Depends(repository.ORGANISATIONS.page_request)]


async def _parent(session: WriteSession, principal: Principal, wanted: OrganisationCreate) -> Organisation:
    """Where a new organisation belongs in the tree.

    Raises:
        ForbiddenError: Clients have no clients of their own.
        NotFoundError: There is no such parent.
        InvalidError: `invalid_parent`: an integrator belongs to the platform, a client to that or to one.
    """
    identifier = wanted.parent_id or principal.organisation_id
    parent = await repository.find_organisation(session, identifier, principal.visible())
    if parent is None:
        raise NotFoundError("organisation", identifier)
    if parent.kind == "client":
        if wanted.parent_id is not None and principal.platform:
            raise InvalidError("A client has no clients of its own.", code="invalid_parent").at(
                "body.parent_id"
            )
        raise ForbiddenError("Only the platform's administrators and integrators make organisations.")
    if wanted.kind == "integrator" and parent.kind != "platform":
        raise InvalidError("Integrators belong to the platform.", code="invalid_parent").at("body.parent_id")
    return parent


@router.post(
    "",
    operation_id="create_organisation",
    summary="Create an organisation",
    status_code=201,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422),
)
async def create_organisation(
    body: OrganisationCreate,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    defaults: DefaultQuotas,
) -> OrganisationOut:
    """Make a tenant: the platform's administrators any, integrators their clients.

    Make an API key for it next, with `POST /v1/api-keys`.
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


@router.get(
    "",
    operation_id="list_organisations",
    summary="List organisations",
    responses=document_problems(401, 403, 422),
)
async def list_organisations(
    principal: OrganisationsReader,
    session: ReadSessionDep,
    asked: _Asked,
    *,
    kind: Annotated[OrganisationKind | None, Query(description="Only of this kind")] = None,
    parent: Annotated[Identifier | None, Query(description="Only clients of this integrator")] = None,
    q: NameFilter = None,
) -> Page[OrganisationOut]:
    """Those that you reach, by default the oldest first.

    For the platform's administrators these are all, for an integrator its own and its clients.
    """
    rows = await repository.list_organisations(
        session, principal.visible(), asked, kind=kind, parent=parent, search=q
    )
    page, following = repository.ORGANISATIONS.cut(rows, asked)
    return Page(data=[OrganisationOut.of(row) for row in page], next=following)


@router.get(
    "/{organisation_id}",
    operation_id="get_organisation",
    summary="Read an organisation",
    responses=document_problems(401, 403, 404),
)
async def get_organisation(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep
) -> OrganisationOut:
    """One organisation."""
    identifier = parse_id(organisation_id, "organisation")
    row = await repository.find_organisation(session, identifier, principal.visible())
    if row is None:
        raise NotFoundError("organisation", organisation_id)
    return OrganisationOut.of(row)


@router.patch(
    "/{organisation_id}",
    operation_id="update_organisation",
    summary="Change an organisation",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def update_organisation(
    organisation_id: str,
    body: OrganisationChange,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> OrganisationOut:
    """Change the fields that are given."""
    identifier = parse_id(organisation_id, "organisation")
    row = await repository.find_organisation(session, identifier, principal.visible(), lock=True)
    if row is None:
        raise NotFoundError("organisation", organisation_id)
    matching.check(OrganisationOut.of(row))
    for name, value in collect_sent_fields(body).items():
        setattr(row, name, value)
        row.updated_at = datetime.now(UTC)
    await session.flush()
    return OrganisationOut.of(row)


@router.delete(
    "/{organisation_id}",
    operation_id="delete_organisation",
    summary="Delete an organisation",
    status_code=204,
    responses=document_problems(401, 403, 404, 409),
)
async def delete_organisation(
    organisation_id: str, principal: OrganisationsWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Delete an organisation that has no clients, sites, boxes, rules or webhooks left.

    What it still has is told, with how much of it there is (`organisation_not_empty`, `remaining`). Its API
    keys go with it. The platform's administrators and its integrator may: nobody deletes the organisation
    that its key is of.
    """
    identifier = parse_id(organisation_id, "organisation")
    row = await repository.find_organisation(session, identifier, principal.visible(), lock=True)
    if row is None:
        raise NotFoundError("organisation", organisation_id)
    matching.check(OrganisationOut.of(row))
    if row.platform:
        raise ConflictError("The platform's own organisation stays.", code="platform_organisation")
    if row.id == principal.organisation_id:
        raise ForbiddenError("The key is of this organisation: only whose client it is may delete it.")
    if remaining := await count_deletion_blockers(session, row.id):
        raise make_not_empty_error(remaining)
    try:
        await session.delete(row)
        await session.flush()
    except IntegrityError:
        raise make_not_empty_error({}) from None
