"""Serves the REST endpoints of boxes and their credentials.

A change of credentials commits first, then updates the broker's accounts, then responds. So a new password
works when the client reads it, and a deleted box can no longer connect.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from app.platform.db.alert_closer_protocol import AlertCloserDependency
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import BoxId, Identifier, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.remembered_arguments import remember_arguments
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReaderDependency,
    ReadSessionDep,
    WriteSessionDep,
    make_page_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.grant_access import count_granted_values, open_to_grants
from app.registry import box_repository, box_service
from app.registry.box_filters import BoxFilter, SilenceCriterion
from app.registry.box_schemas import (
    BoxChange,
    BoxCreate,
    BoxCreated,
    BoxOut,
    Credentials,
    CredentialsOut,
    format_box_row,
)
from app.registry.dependencies import (
    BoxesWriter,
    CurrentSilenceCriterion,
    NewBoxLimitsDependency,
    OrganisationFilter,
    SitesDependency,
    SitesReader,
    get_silence_criterion,
    sync_broker_accounts,
)
from app.registry.firmware_versions import BELOW_VERSION, COMPARABLE, FROM_VERSION, FirmwareVersion
from app.registry.granted_places import check_box_list, limit_box, limit_box_fields
from app.registry.labels import TAGS_MAX, BoxKind, Tag

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=StrictRoute)


async def _filter(
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only at this site")] = None,
    state: Annotated[
        Literal["online", "offline", "unknown"] | None,
        Query(description="Only boxes in this state; `unknown`: never reported"),
    ] = None,
    q: Annotated[Name | None, Query(description="Part of the id or the name, case-insensitive")] = None,
    id_prefix: Annotated[
        BoxId | None, Query(description="Only boxes with an id that begins with this")
    ] = None,
    silent: Annotated[
        bool | None, Query(description="True: only silent boxes; false: only the others")
    ] = None,
    activity: Annotated[
        Literal["active", "refused", "silent"] | None,
        Query(description="Only boxes with this activity; `refused`: all recent messages were refused"),
    ] = None,
    firmware: Annotated[Name | None, Query(description="Exactly this firmware")] = None,
    firmware_from: Annotated[FirmwareVersion | None, Query(description=FROM_VERSION)] = None,
    firmware_below: Annotated[FirmwareVersion | None, Query(description=BELOW_VERSION)] = None,
    firmware_comparable: Annotated[bool | None, Query(description=COMPARABLE)] = None,
    kind: Annotated[BoxKind | None, Query(description="Only of this kind")] = None,
    tag: Annotated[
        list[Tag] | None,
        Query(max_length=TAGS_MAX, description="Only boxes with this tag. Repeat it: with all of them"),
    ] = None,
    battery_below: Annotated[float | None, Query(ge=0, le=100, description="Percent")] = None,
    rssi_below: Annotated[float | None, Query(ge=-200, le=20, description="dBm")] = None,
    late_share_above: Annotated[float | None, Query(ge=0, le=1, description="0 to 1")] = None,
    clock_skew_above_ms: Annotated[
        float | None, Query(ge=0, le=1e13, description="Milliseconds, ahead or behind")
    ] = None,
) -> BoxFilter:
    """Read the conditions of the list. A box is listed if it meets all of them."""
    return BoxFilter(
        organisation=organisation,
        site=site,
        state=state,
        search=q,
        id_prefix=id_prefix,
        silent=silent,
        activity=activity,
        firmware=firmware,
        firmware_from=firmware_from,
        firmware_below=firmware_below,
        firmware_comparable=firmware_comparable,
        kind=kind,
        tags=None if tag is None else tuple(tag),
        battery_below=battery_below,
        rssi_below=rssi_below,
        late_share_above=late_share_above,
        clock_skew_above_ms=clock_skew_above_ms,
    )


@router.post("", summary="Create a box", status_code=201, responses=document_problems(404))
async def create_box(
    body: BoxCreate,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    limits: NewBoxLimitsDependency,
) -> BoxCreated:
    """Create a box. The response shows its credentials once: store them. They work immediately."""
    async with database.write() as session:
        (created,) = await box_service.add_boxes(
            session, principal.visible(), [body], limits, datetime.now(UTC), numbered=False
        )
    await sync_broker_accounts(request, database)
    return BoxCreated.with_password(created.box, created.password)


@router.get("", summary="List boxes", response_model=Page[BoxOut])
@remember_arguments
@open_to_grants("boxes")
async def list_boxes(
    principal: SitesReader,
    reader: ReaderDependency,
    sites: SitesDependency,
    box_filter: Annotated[BoxFilter, Depends(_filter)],
    page_request: Annotated[PageRequest, Depends(box_repository.BOXES.page_request)],
) -> Response:
    """List boxes with the state that they report and the activity of their samples, by default by id."""
    check_box_list(box_filter, page_request, principal.visible())
    silence = SilenceCriterion(datetime.now(UTC), sites.silent_intervals)
    rows = await box_repository.list_boxes(
        reader, principal.visible(), page_request, silence=silence, box_filter=box_filter
    )
    page, following = box_repository.BOXES.cut(rows, page_request)
    count_granted_values(len(page), sites=[row["site_id"] for row in page])
    shown = (limit_box_fields(format_box_row(row), principal.visible()) for row in page)
    return make_page_response(shown, following)


@router.get("/{box}", summary="Read a box")
@open_to_grants("boxes")
async def get_box(
    box: str, principal: SitesReader, session: ReadSessionDep, silence: CurrentSilenceCriterion
) -> BoxOut:
    """Read a box with the state that it reports and the activity of its samples."""
    found = BoxOut.of(await box_repository.get_box_row(session, box, principal.visible(), silence))
    count_granted_values(1, sites=[found.site_id])
    return limit_box(found, principal.visible())


@router.patch("/{box}", summary="Change a box")
async def update_box(
    *,
    box: str,
    body: BoxChange,
    request: Request,
    principal: BoxesWriter,
    session: WriteSessionDep,
    close_alerts: AlertCloserDependency,
    matching: PreconditionDep,
) -> BoxOut:
    """Change the given fields. The id cannot change: it is part of every topic."""
    await box_service.change_box(
        session,
        principal,
        box,
        body,
        close_alerts=close_alerts,
        now=datetime.now(UTC),
        check=matching.on(BoxOut.steady),
    )
    silence = await get_silence_criterion(request)
    return BoxOut.of(await box_repository.get_box_row(session, box, principal.visible(), silence))


@router.delete("/{box}", summary="Delete a box", status_code=204)
async def delete_box(
    *,
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    close_alerts: AlertCloserDependency,
    matching: PreconditionDep,
) -> None:
    """Delete a box. Its alerts close, its broker account is removed, and its id can be used again."""
    async with database.write() as session:
        await box_service.delete_box(
            session, principal, box, close_alerts, datetime.now(UTC), check=matching.on(BoxOut.steady)
        )
    await sync_broker_accounts(request, database)


@router.post("/{box}/credentials", summary="Rotate a box's credentials")
async def rotate_box_credentials(
    box: str, request: Request, principal: BoxesWriter, database: DatabaseDependency
) -> CredentialsOut:
    """Create a new password for a box. It is shown only here: store it. The previous one ends immediately."""
    async with database.write() as session:
        created = await box_service.rotate_password(session, principal, box, datetime.now(UTC))
    await sync_broker_accounts(request, database)
    return CredentialsOut(credentials=Credentials(username=created.box.id, password=created.password))


@router.post("/{box}/credentials/revoke", summary="Revoke a box's credentials")
async def revoke_box_credentials(
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    silence: CurrentSilenceCriterion,
) -> BoxOut:
    """Disconnect a box and refuse its connections until its credentials are rotated. It stays registered."""
    async with database.write() as session:
        await box_service.revoke_password(session, principal, box, datetime.now(UTC))
    await sync_broker_accounts(request, database)
    async with database.read() as reader:
        return BoxOut.of(await box_repository.get_box_row(reader, box, principal.visible(), silence))
