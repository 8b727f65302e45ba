"""Lists events that boxes recognised, over REST."""

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Row

from app.platform.http.contract.fields import Identifier, InstantParameter
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.http.contract.sorting import PageRequest
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.errors import InvalidError
from app.registry import box_repository
from app.timeseries.series import reading_queries
from app.timeseries.series.schemas import EventOut
from app.timeseries.storage.models import Event

router: Final = APIRouter(prefix="/v1", tags=["Readings"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]
_PageRequestDep = Annotated[PageRequest, Depends(reading_queries.EVENTS.page_request)]
Type = Annotated[
    str | None,
    Query(pattern=r"^[a-z0-9_.-]{1,64}$", description="Only events of this type", examples=["gunshot"]),
]
From = Annotated[InstantParameter | None, Query(alias="from", description="Measured at or after this")]
To = Annotated[InstantParameter | None, Query(description="Measured before this")]


def check_event_range(first: InstantParameter | None, last: InstantParameter | None) -> None:
    """Refuse a range that ends before it begins (InvalidError `range_reversed`)."""
    if first is not None and last is not None and first >= last:
        raise InvalidError("`from` must be before `to`.", code="range_reversed")


def _page(rows: Sequence[Row[Event, str, UUID]], page_request: PageRequest) -> Page[EventOut]:
    page, following = reading_queries.EVENTS.cut(rows, page_request)
    plain = (
        *(
            "id",
            "time",
            "type",
            "seq",
            "candidates",
            "level_db",
            "clock_error_ms",
            "spectrum",
            "count",
            "state",
        ),
        "received_at",
    )
    return Page(
        data=[
            EventOut(box=box, site_id=site_id, **{name: getattr(event, name) for name in plain})
            for event, box, site_id in page
        ],
        next=following,
    )


@router.get("/boxes/{box}/events", summary="List events of a box", responses=document_problems(403))
async def list_box_events(
    box: str,
    principal: Reader,
    session: ReadSessionDep,
    *,
    kind: Annotated[Type, Query(alias="type")] = None,
    from_: From = None,
    to: To = None,
    page_request: _PageRequestDep,
) -> Page[EventOut]:
    """List the events that a box recognised, by default the last received first."""
    check_event_range(from_, to)
    found = await box_repository.get_box(session, box, principal.visible())
    rows = await reading_queries.read_events(
        session, principal.visible(), page_request, box_key=found.key, kind=kind, first=from_, last=to
    )
    return _page(rows, page_request)


@router.get("/events", summary="List events of all boxes", responses=document_problems(403))
async def list_events(
    principal: Reader,
    session: ReadSessionDep,
    *,
    site: Annotated[Identifier | None, Query(description="Only events at this site")] = None,
    kind: Annotated[Type, Query(alias="type")] = None,
    from_: From = None,
    to: To = None,
    page_request: _PageRequestDep,
) -> Page[EventOut]:
    """List the events that the boxes of the organisation recognised, by default the last received first."""
    check_event_range(from_, to)
    rows = await reading_queries.read_events(
        session, principal.visible(), page_request, site=site, kind=kind, first=from_, last=to
    )
    return _page(rows, page_request)
