"""REST for organisations: the platform's administrators make them, everybody sees its own."""

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from sqlalchemy.exc import IntegrityError

from app.core.auth import Principal
from app.core.errors import ConflictError, ForbiddenError, NotFoundError
from app.core.fields import given
from app.core.ids import new_id, parse_id
from app.core.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, cut, encode_cursor
from app.core.problems import documented
from app.core.strict_body import StrictRoute
from app.core.web import Reads, Writes
from app.sites import repository
from app.sites.dependencies import OrganisationsReader, OrganisationsWriter
from app.sites.models import Organisation
from app.sites.schemas import OrganisationChange, OrganisationCreate, OrganisationOut

router: Final = APIRouter(prefix="/v1/organisations", tags=["Organisations"], route_class=StrictRoute)


def _administrators_only(principal: Principal) -> None:
    if not principal.platform:
        raise ForbiddenError("Only the platform's administrators may do this.")


@router.post(
    "",
    operation_id="create_organisation",
    summary="Create an organisation",
    status_code=201,
    responses=documented(400, 401, 403, 413, 415, 422),
)
async def create_organisation(
    body: OrganisationCreate, principal: OrganisationsWriter, session: Writes
) -> OrganisationOut:
    """Make a tenant. Make an API key for it next, with `POST /v1/api-keys`."""
    _administrators_only(principal)
    now = datetime.now(UTC)
    row = Organisation(id=new_id(), name=body.name, platform=False, created_at=now, updated_at=now)
    session.add(row)
    await session.flush()
    return OrganisationOut.of(row)


@router.get(
    "",
    operation_id="list_organisations",
    summary="List organisations",
    responses=documented(401, 403, 422),
)
async def list_organisations(
    principal: OrganisationsReader, session: Reads, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[OrganisationOut]:
    """All organisations for the platform's administrators; one's own for everybody else. The oldest first."""
    rows = await repository.list_organisations(session, principal.visible(), cursor, limit)
    page, following = cut(rows, limit, lambda row: encode_cursor("organisations", str(row.id)))
    return Page(data=[OrganisationOut.of(row) for row in page], next=following)


@router.get(
    "/{organisation_id}",
    operation_id="get_organisation",
    summary="Read an organisation",
    responses=documented(401, 403, 404),
)
async def get_organisation(
    organisation_id: str, principal: OrganisationsReader, session: Reads
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
    responses=documented(400, 401, 403, 404, 413, 415, 422),
)
async def update_organisation(
    organisation_id: str, body: OrganisationChange, principal: OrganisationsWriter, session: Writes
) -> OrganisationOut:
    """Change the fields that are given."""
    identifier = parse_id(organisation_id, "organisation")
    row = await repository.find_organisation(session, identifier, principal.visible(), lock=True)
    if row is None:
        raise NotFoundError("organisation", organisation_id)
    for name, value in given(body).items():
        setattr(row, name, value)
        row.updated_at = datetime.now(UTC)
    await session.flush()
    return OrganisationOut.of(row)


@router.delete(
    "/{organisation_id}",
    operation_id="delete_organisation",
    summary="Delete an organisation",
    status_code=204,
    responses=documented(401, 403, 404, 409),
)
async def delete_organisation(organisation_id: str, principal: OrganisationsWriter, session: Writes) -> None:
    """Delete an organisation that has no sites, boxes, rules or webhooks left; its API keys go with it."""
    _administrators_only(principal)
    identifier = parse_id(organisation_id, "organisation")
    row = await repository.find_organisation(session, identifier, principal.visible(), lock=True)
    if row is None:
        raise NotFoundError("organisation", organisation_id)
    if row.platform:
        raise ConflictError("The platform's own organisation stays.", code="platform_organisation")
    try:
        await session.delete(row)
        await session.flush()
    except IntegrityError:
        raise ConflictError(
            "The organisation still has sites, webhooks, or boxes whose samples are being removed.",
            code="organisation_not_empty",
        ) from None
