"""Serves indices over REST: their methods, the current values of a site, and the history of one index."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app.environmental_indices.boxes_and_read_limits import MAX_BOXES, find_indexed_boxes
from app.environmental_indices.history_pages import build_history_page, resolve_period_length
from app.environmental_indices.index_definitions import (
    INDEX_DEFINITIONS,
    MethodOptions,
    MouldMaterial,
    NoiseCountry,
    OdourArea,
    RoomUse,
)
from app.environmental_indices.indoor_comfort import Season
from app.environmental_indices.odour_hours import DETECTION_THRESHOLD
from app.environmental_indices.period_selection import PeriodLength, TimePeriod
from app.environmental_indices.schemas import (
    IndexHistoryOut,
    IndicesOut,
    MethodOut,
    to_index_out,
    to_index_value_out,
    to_worst_out,
)
from app.environmental_indices.service import (
    SiteContext,
    check_read_budget,
    compute_index_values,
    find_index_definition,
    find_worst_boxes,
    list_current_computations,
)
from app.environmental_indices.site_surroundings import country_of_timezone, season_of
from app.platform.http.contract.fields import InstantParameter, parse_instant_parameter
from app.platform.http.contract.pagination import DEFAULT_LIMIT, Cursor, Limit, Page
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import ReadSessionDep
from app.platform.identity.caller_authentication import Principal, current_principal, require_scope
from app.platform.kernel.errors import InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import from_datetime
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.registry.models import Site
from app.registry.site_repository import find_site
from app.timeseries.series.series_parameters import complete_range

router: Final = APIRouter(prefix="/v1", tags=["Indices"])
Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]

_METHODS: Final = Page[MethodOut](
    data=[MethodOut.of(figure) for figure in INDEX_DEFINITIONS.values()], next=None
)
_NAMES: Final = sorted(INDEX_DEFINITIONS)
_HISTORIES: Final = sorted(name for name, figure in INDEX_DEFINITIONS.items() if figure.lengths)
_MAX_NOISE: Final = 100
# The default range of a history.
_SPANS: Final[dict[PeriodLength, timedelta]] = {
    "hour": timedelta(days=1),
    "day": timedelta(days=30),
    "week": timedelta(weeks=26),
    "weeks": timedelta(weeks=52),
    "month": timedelta(days=366),
    "year": timedelta(days=5 * 366),
}

BoxesParameter = Annotated[
    list[str], Query(max_length=MAX_BOXES, description="Only this box; repeat it for several: `box=a&box=b`")
]
PeriodParameter = Annotated[
    PeriodLength | None,
    Query(
        description="The period length, for methods that support several (`periods` of a method). `weeks`: "
        "four weeks"
    ),
]


NoiseParameter = Annotated[
    list[str],
    Query(
        max_length=_MAX_NOISE,
        description="A period in which the noise is heard, for `noise-emergence`: `<begin>/<end>`. Repeat it "
        "for several: `noise=…&noise=…`",
        examples=[["2026-11-24T10:00:00Z/2026-11-24T10:20:00Z"]],
        json_schema_extra={"items": {"type": "string", "pattern": "^[^/]+/[^/]+$"}},
    ),
]


@dataclass(frozen=True, slots=True)
class RequestedOptions:
    """The options of a request; None: the default of the site."""

    country: NoiseCountry | None
    season: Season | None
    use: RoomUse
    material: MouldMaterial
    area: OdourArea
    odour: float

    def of(self, site: Site, at: datetime, noise: tuple[TimePeriod, ...] = ()) -> SiteContext:
        """Combine the options with the defaults of a site."""
        zone = ZoneInfo(site.timezone)
        choices = MethodOptions(
            zone,
            self.season or season_of(at.astimezone(zone).date(), site.latitude),
            self.country or country_of_timezone(site.timezone),
            self.use,
            self.material,
            self.area,
            self.odour,
            noise,
        )
        return SiteContext(site, choices, is_season_explicit=self.season is not None)


async def _parse_options(
    *,
    country: Annotated[
        NoiseCountry | None,
        Query(
            description="The country that defines the parts of the day, for noise. By default the country of "
            "the site's time zone, else `EU`"
        ),
    ] = None,
    season: Annotated[
        Season | None,
        Query(
            description="The season, for thermal comfort. By default `heating` from October to April; in the "
            "southern hemisphere from April to October"
        ),
    ] = None,
    use: Annotated[RoomUse, Query(description="The use of the room, for light")] = "writing",
    material: Annotated[MouldMaterial, Query(description="The material, for mould")] = "very_sensitive",
    area: Annotated[OdourArea, Query(description="The use of the area, for odour hours")] = "residential",
    odour: Annotated[
        float, Query(ge=0, le=1e7, allow_inf_nan=False, description="The odour threshold, ou/m³")
    ] = DETECTION_THRESHOLD,
) -> RequestedOptions:
    return RequestedOptions(country, season, use, material, area, odour)


OptionsDependency = Annotated[RequestedOptions, Depends(_parse_options)]


@router.get("/indices", summary="List index methods", dependencies=[Depends(current_principal)])
async def list_indices() -> Page[MethodOut]:
    """List all methods that Vigie computes, each with its source and its coverage rule."""
    return _METHODS


@router.get(
    "/sites/{site_id}/indices",
    summary="Read current indices of a site",
    response_model=IndicesOut,
    responses=document_problems(403),
)
async def get_site_indices(
    site_id: str,
    principal: Reader,
    session: ReadSessionDep,
    options: OptionsDependency,
    *,
    method: Annotated[
        list[str],
        Query(
            max_length=len(INDEX_DEFINITIONS),
            description="A method of `GET /v1/indices`; repeat it for several: `method=a&method=b`. By "
            "default those with `unasked` that fit the kind of place",
            examples=[["eaqi", "lden-day"]],
            json_schema_extra={"items": {"type": "string", "enum": _NAMES}},
        ),
    ] = [],  # noqa: B006 (FastAPI copies it)
    box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    period: PeriodParameter = None,
    at: Annotated[
        InstantParameter | None,
        Query(description="Computes the last periods that ended by this time; by default, and at most, now"),
    ] = None,
    noise: NoiseParameter = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Compute the indices of each box for the last complete period, and the worst box of each method.

    Values are computed from stored data at each request. Without `method`, the methods that fit the kind of
    place are computed, for the metrics that the box measures. If you name a method, each box has a result,
    which gives the `reason` if it has no value. The index of a site is that of its worst box, as is usual for
    air indices.
    """
    site = await _site(session, site_id, principal)
    now = datetime.now(UTC)
    moment = now if at is None else min(at, now)
    context = options.of(site, moment, _noises(noise))
    stations = await find_indexed_boxes(session, site.id, box, principal.visible())
    rows = list_current_computations(context, stations, method, from_datetime(moment), period)
    check_read_budget(rows)
    found = await compute_index_values(session, context, rows)
    return await _serialize(
        lambda: IndicesOut(
            site_id=str(site.id),
            at=moment,
            timezone=site.timezone,
            country=context.choices.country,
            worst=[to_worst_out(each) for each in find_worst_boxes(found)],
            data=[to_index_out(each) for each in found],
        )
    )


@router.get(
    "/sites/{site_id}/indices/history",
    summary="History of an index",
    response_model=IndexHistoryOut,
    responses=document_problems(403),
)
async def list_site_index_history(
    site_id: str,
    principal: Reader,
    session: ReadSessionDep,
    options: OptionsDependency,
    *,
    method: Annotated[
        str,
        Query(
            description="A method of `GET /v1/indices`",
            examples=["eaqi"],
            json_schema_extra={"enum": _HISTORIES},
        ),
    ],
    box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    period: PeriodParameter = None,
    from_: Annotated[
        InstantParameter | None,
        Query(
            alias="from",
            description="Start, included. The default depends on the period length: a day before `to` for "
            "hours, 30 days for days, 5 years for years",
        ),
    ] = None,
    to: Annotated[InstantParameter | None, Query(description="End, excluded; by default now")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Compute a method for each complete period that begins in a range, ordered by time, then by box.

    A page can have fewer values than `limit` if they need much data. Weeks begin on Mondays.
    """
    site = await _site(session, site_id, principal)
    now = datetime.now(UTC)
    figure = find_index_definition(method)
    length = resolve_period_length(figure, period)
    context = options.of(site, now)
    last = now if to is None else to
    span = complete_range(last - _SPANS[length] if from_ is None else from_, last, now)
    stations = await find_indexed_boxes(session, site.id, box, principal.visible())
    page = build_history_page(
        context, stations, figure, length=length, span=span, now=now, limit=limit, cursor=cursor
    )
    found = await compute_index_values(session, context, page.rows)
    return await _serialize(
        lambda: IndexHistoryOut(
            site_id=str(site.id),
            timezone=site.timezone,
            country=context.choices.country,
            method=MethodOut.of(figure),
            data=[to_index_value_out(each) for each in found],
            next=page.following,
        )
    )


async def _serialize(make: Callable[[], BaseModel]) -> Response:
    """Build and serialize a response in a thread: thousands of values would block other requests."""
    text = await asyncio.to_thread(lambda: make().model_dump_json())
    return Response(text, media_type="application/json")


async def _site(session: AsyncSession, site_id: str, principal: Principal) -> Site:
    site = await find_site(session, parse_id(site_id, "site"), principal.visible())
    if site is None:
        raise NotFoundError("site", site_id)
    return site


def _noises(texts: Iterable[str]) -> tuple[TimePeriod, ...]:
    """Parse the periods of a noise, ascending; overlapping ones are merged."""
    found: list[TimePeriod] = []
    for period in sorted(_parse_noise(text) for text in texts):
        if found and period.start_us <= found[-1].end_us:
            found[-1] = TimePeriod(found[-1].start_us, max(found[-1].end_us, period.end_us))
        else:
            found.append(period)
    return tuple(found)


def _parse_noise(text: str) -> TimePeriod:
    """Parse a period of a noise (InvalidError `invalid_noise`)."""
    begin, _, end = text.partition("/")
    try:
        period = TimePeriod(*(from_datetime(parse_instant_parameter(each)) for each in (begin, end)))
    except RejectedError:
        period = TimePeriod(0, 0)
    if period.start_us >= period.end_us:
        raise InvalidError(
            f"`noise` is invalid: {format_rejected_value(text)}. Send `<begin>/<end>`, such as "
            f"2026-11-24T10:00:00Z/2026-11-24T10:20:00Z.",
            code="invalid_noise",
        )
    return period
