"""REST for boxes.

What changes a box's credentials commits first, then brings the broker's accounts up to date, then answers:
a box can connect as soon as its password is known, and not any more once it is deleted.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request

from app.platform.db.database import Database
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep, get_database
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.fields import BoxId, Identifier, Name
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.registry import box_repository, service
from app.registry.box_repository import BoxFilter
from app.registry.box_schemas import (
    BoxChange,
    BoxCreate,
    BoxCreated,
    BoxOut,
    Credentials,
    CredentialsOut,
)
from app.registry.dependencies import (
    BoxesWriter,
    CurrentSilenceCriterion,
    OrganisationFilter,
    SitesReader,
    get_silence_criterion,
    sync_broker_accounts,
)
from app.registry.labels import TAGS_MAX, BoxKind, Tag

router: Final = APIRouter(prefix="/v1/boxes", tags=["Boxes"], route_class=StrictRoute)
DatabaseDependency = Annotated[Database, Depends(get_database)]


async def _filter(
    *,
    organisation: OrganisationFilter = None,
    site: Annotated[Identifier | None, Query(description="Only at this site")] = None,
    state: Annotated[
        Literal["online", "offline", "unknown"] | None, Query(description="`unknown`: it never told")
    ] = None,
    q: Annotated[Name | None, Query(description="Part of the id or of the name, in any case")] = None,
    id_prefix: Annotated[BoxId | None, Query(description="Only those whose id begins so")] = None,
    silent: Annotated[
        bool | None, Query(description="Only those that are silent, or only the others")
    ] = None,
    activity: Annotated[
        Literal["active", "refused", "silent"] | None,
        Query(description="`refused`: all that came from it lately was refused"),
    ] = None,
    firmware: Annotated[Name | None, Query(description="Exactly this firmware")] = None,
    kind: Annotated[BoxKind | None, Query(description="Only of this kind")] = None,
    tag: Annotated[
        list[Tag] | None, Query(max_length=TAGS_MAX, description="Only with this tag; several: with all")
    ] = None,
    battery_below: Annotated[float | None, Query(ge=0, le=100, description="Percent")] = None,
    rssi_below: Annotated[float | None, Query(ge=-200, le=20, description="dBm")] = None,
    late_share_above: Annotated[float | None, Query(ge=0, le=1, description="0 to 1")] = None,
    clock_skew_above_ms: Annotated[
        float | None, Query(ge=0, le=1e13, description="Milliseconds, ahead or behind")
    ] = None,
) -> BoxFilter:
    """Which boxes are listed: those that fit all that is given."""
    return BoxFilter(
        organisation=organisation,
        site=site,
        state=state,
        search=q,
        id_prefix=id_prefix,
        silent=silent,
        activity=activity,
        firmware=firmware,
        kind=kind,
        tags=tag,
        battery_below=battery_below,
        rssi_below=rssi_below,
        late_share_above=late_share_above,
        clock_skew_above_ms=clock_skew_above_ms,
    )


@router.post(
    "",
    operation_id="create_box",
    summary="Create a box",
    status_code=201,
    responses=document_problems(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
async def create_box(
    body: BoxCreate, request: Request, principal: BoxesWriter, database: DatabaseDependency
) -> BoxCreated:
    """Register a box. Its credentials are shown in the answer and never again; they work at once."""
    settings = request.app.state.settings
    async with database.write() as session:
        (made,) = await service.add_boxes(
            session, principal.visible(), [body], settings, datetime.now(UTC), numbered=False
        )
    await sync_broker_accounts(request, database)
    return BoxCreated.with_password(made.box, made.password)


@router.get("", operation_id="list_boxes", summary="List boxes", responses=document_problems(401, 403, 422))
async def list_boxes(
    principal: SitesReader,
    session: ReadSessionDep,
    silence: CurrentSilenceCriterion,
    wanted: Annotated[BoxFilter, Depends(_filter)],
    asked: Annotated[PageRequest, Depends(box_repository.BOXES.page_request)],
) -> Page[BoxOut]:
    """Boxes, by default by their ids: what they say of themselves, and what their samples say of them."""
    rows = await box_repository.list_boxes(
        session, principal.visible(), asked, silence=silence, wanted=wanted
    )
    page, following = box_repository.BOXES.cut(rows, asked)
    return Page(data=[BoxOut.of(row) for row in page], next=following)


@router.get(
    "/{box}", operation_id="get_box", summary="Read a box", responses=document_problems(401, 403, 404)
)
async def get_box(
    box: str, principal: SitesReader, session: ReadSessionDep, silence: CurrentSilenceCriterion
) -> BoxOut:
    """One box, with what it last said of itself, and what its samples say of it."""
    return BoxOut.of(await box_repository.get_box_row(session, box, principal.visible(), silence))


@router.patch(
    "/{box}",
    operation_id="update_box",
    summary="Change a box",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def update_box(
    *,
    box: str,
    body: BoxChange,
    request: Request,
    principal: BoxesWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> BoxOut:
    """Change the fields that are given. Its id cannot change: it is part of every topic."""
    await service.change_box(
        session,
        principal,
        box,
        body,
        close_alerts=request.app.state.close_alerts,
        now=datetime.now(UTC),
        check=matching.on(BoxOut.steady),
    )
    silence = await get_silence_criterion(request)
    return BoxOut.of(await box_repository.get_box_row(session, box, principal.visible(), silence))


@router.delete(
    "/{box}",
    operation_id="delete_box",
    summary="Delete a box",
    status_code=204,
    responses=document_problems(401, 403, 404, 503),
)
async def delete_box(
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    matching: PreconditionDep,
) -> None:
    """Delete a box: its alerts close, its account at the broker ends, and its id is free again."""
    closer = request.app.state.close_alerts
    async with database.write() as session:
        await service.delete_box(
            session, principal, box, closer, datetime.now(UTC), check=matching.on(BoxOut.steady)
        )
    await sync_broker_accounts(request, database)


@router.post(
    "/{box}/credentials",
    operation_id="rotate_box_credentials",
    summary="Give a box new credentials",
    responses=document_problems(401, 403, 404, 503),
)
async def rotate_box_credentials(
    box: str, request: Request, principal: BoxesWriter, database: DatabaseDependency
) -> CredentialsOut:
    """Make a new password for a box. It is shown here and never again; the former one ends at once."""
    async with database.write() as session:
        made = await service.rotate_password(session, principal, box, datetime.now(UTC))
    await sync_broker_accounts(request, database)
    return CredentialsOut(credentials=Credentials(username=made.box.id, password=made.password))


@router.post(
    "/{box}/credentials/revoke",
    operation_id="revoke_box_credentials",
    summary="Revoke a box's credentials",
    responses=document_problems(401, 403, 404, 503),
)
async def revoke_box_credentials(
    box: str,
    request: Request,
    principal: BoxesWriter,
    database: DatabaseDependency,
    silence: CurrentSilenceCriterion,
) -> BoxOut:
    """Disconnect a box and let it in no more, until it is given new credentials. It stays registered."""
    async with database.write() as session:
        await service.revoke_password(session, principal, box, datetime.now(UTC))
    await sync_broker_accounts(request, database)
    async with database.read() as reader:
        return BoxOut.of(await box_repository.get_box_row(reader, box, principal.visible(), silence))
