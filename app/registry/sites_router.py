"""Serves the REST endpoints of sites: streets, offices and other locations of boxes."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.exc import IntegrityError

from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import SiteKind, collect_sent_fields
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.remembered_arguments import remember_arguments
from app.platform.http.contract.session_dependencies import (
    ReaderDependency,
    ReadSessionDep,
    WriteSessionDep,
    make_page_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.grant_access import count_granted_values, open_to_grants
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.ids import new_id
from app.registry import box_service, purpose_service, site_repository
from app.registry.dependencies import (
    DefaultQuotas,
    NameFilter,
    OrganisationFilter,
    SitesReader,
    SitesWriter,
)
from app.registry.granted_places import limit_site, limit_site_fields
from app.registry.models import Site
from app.registry.organisation_and_site_schemas import (
    SiteChange,
    SiteCreate,
    SiteOut,
    format_site_row,
)
from app.registry.purpose_service import get_retention_settings
from app.registry.quota_service import check_quota
from app.registry.site_retention import RetentionSettings

router: Final = APIRouter(prefix="/v1/sites", tags=["Sites"], route_class=StrictRoute)
_PageQuery = Annotated[PageRequest, Depends(site_repository.SITES.page_request)]


@router.post("", summary="Create a site", status_code=201, responses=document_problems(404))
async def create_site(
    body: SiteCreate, principal: SitesWriter, session: WriteSessionDep, defaults: DefaultQuotas
) -> SiteOut:
    """Create a site. Then create its boxes with `POST /v1/boxes`."""
    principal.check_whole()
    organisation = await box_service.resolve_organisation(session, principal, body.organisation_id)
    now = datetime.now(UTC)
    row = Site(
        id=new_id(),
        organisation_id=organisation.id,
        name=body.name,
        kind=body.kind,
        timezone=body.timezone,
        longitude=body.location.longitude,
        latitude=body.location.latitude,
        retention_days=body.retention_days,
        register_precision_m=body.register_precision_m,
        address=body.address,
        open_data_licence=body.open_data_licence,
        attributes=body.attributes,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    await session.flush()
    await check_quota(session, "sites", {row.organisation_id: 1}, defaults, principal.visible())
    return SiteOut.of(row)


@router.get("", summary="List sites", response_model=Page[SiteOut])
@remember_arguments
@open_to_grants("sites")
async def list_sites(
    principal: SitesReader,
    reader: ReaderDependency,
    page_request: _PageQuery,
    *,
    organisation: OrganisationFilter = None,
    kind: Annotated[SiteKind | None, Query(description="Only of this kind")] = None,
    q: NameFilter = None,
) -> Response:
    """List sites, by default the oldest first."""
    statement = site_repository.compile_site_page(
        principal.visible(), page_request, organisation=organisation, kind=kind, search=q
    )
    rows = await reader.fetch(statement)
    page, following = site_repository.SITES.cut(rows, page_request)
    count_granted_values(len(page), sites=[row["id"] for row in page])
    shown = (limit_site_fields(format_site_row(row), principal.visible()) for row in page)
    return make_page_response(shown, following)


@router.get("/{site_id}", summary="Read a site")
@open_to_grants("sites")
async def get_site(site_id: str, principal: SitesReader, session: ReadSessionDep) -> SiteOut:
    """Read a site."""
    site = SiteOut.of(await site_repository.get_site(session, site_id, principal.visible()))
    count_granted_values(1, sites=[site.id])
    return limit_site(site, principal.visible())


@router.patch("/{site_id}", summary="Change a site")
async def update_site(
    site_id: str,
    body: SiteChange,
    principal: SitesWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> SiteOut:
    """Change the given fields."""
    if "retention_days" in body.model_fields_set:
        # The change may revoke an approval, on which no running batch may rely.
        await site_repository.get_site(session, site_id, principal.visible())
        await close_ingest_barrier(session)
    row = await site_repository.get_site(session, site_id, principal.visible(), lock=True)
    matching.check(SiteOut.of(row))
    changes = collect_sent_fields(body)
    before = get_retention_settings(row)
    if changes.pop("location", None) is not None:
        changes |= {"longitude": body.location.longitude, "latitude": body.location.latitude}
    for name, value in changes.items():
        setattr(row, name, value)
        row.updated_at = datetime.now(UTC)
    if "retention_days" in changes:
        box_service.check_summary_retention(
            RetentionSettings(row.retention_days, row.retention_purposes, row.summaries_days)
        )
    await session.flush()
    await purpose_service.revoke_weakened_approvals(session, row, before)
    return SiteOut.of(row)


@router.delete("/{site_id}", summary="Delete a site", status_code=204, responses=document_problems(409))
async def delete_site(
    site_id: str, principal: SitesWriter, session: WriteSessionDep, matching: PreconditionDep
) -> None:
    """Delete a site that has no boxes and no rules, with the history of its alerts.

    Delete its rules first: that closes their alerts and notifies the recipients.
    """
    row = await site_repository.get_site(session, site_id, principal.visible(), closed=True)
    matching.check(SiteOut.of(row))
    if await site_repository.has_boxes(session, row.id):
        raise ConflictError(
            "The site has boxes. Move them (PATCH `site_id`) or delete them first.",
            code="site_not_empty",
        )
    if await site_repository.has_rules(session, row.id):
        raise ConflictError(
            "The site has rules. Delete them first: that closes their alerts.", code="site_has_rules"
        )
    # Also of boxes that were moved to another site since.
    if await site_repository.has_open_erasures(session, row.id):
        raise ConflictError(
            "Erasures of the site are not finished: they would end with it. Try again later "
            "(GET /v1/sites/{site}/erasures shows their progress).",
            code="site_has_erasures",
        )
    try:
        await session.delete(row)
        await session.flush()
    except IntegrityError:
        raise ConflictError(
            "The samples of deleted boxes of this site are not removed yet. Try again later.",
            code="site_not_empty",
        ) from None
