"""REST for reports: what is asked for, how it is negotiated, and the headers of what is made.

What a client prefers, by its `Accept` and `Accept-Language` (RFC 9110, 12.5).
"""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.indicators.box_queries import MAX_BOXES, find_indexed_boxes
from app.indicators.period_selection import DatedPeriod
from app.platform.db.database import Database
from app.platform.http.contract.dependencies import get_database, make_async_dependency
from app.platform.http.contract.problems import document_problems
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import from_datetime
from app.registry.models import Site
from app.registry.repository import find_site
from app.reports.process_pool import ReportProcessPool
from app.reports.render.csp import build_report_csp
from app.reports.report_gathering import ReportRequest, gather_report_input
from app.reports.report_input import ReportFormat, ReportLanguage, ReportLength, pack_report_input
from app.reports.report_periods import resolve_day_slot, resolve_month_slot


def select_preferred_offer(header: str, offered: Sequence[str], *, separator: str) -> str:
    """What of an offer a client wants most; the first one where it says nothing, or wants none of it.

    Args:
        header: the header's value, empty where there is none.
        offered: such as `("text/html", "application/pdf")`.
        separator: `/` of media types, `-` of languages: what is before it stands for all that begins so.
    """
    wanted = _weights(header)
    weights = [_weight(each, wanted, separator) for each in offered]
    best = max(weights, default=0.0)
    return offered[weights.index(best)] if best > 0 else offered[0]


def _weights(header: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            continue
        if name and 0 <= weight <= 1:
            found[name] = max(weight, found.get(name, 0.0))
    return found


def _weight(offer: str, wanted: dict[str, float], separator: str) -> float:
    """The weight of what names the offer most closely. `fr-CA` is served by `fr`."""
    if offer in wanted:
        return wanted[offer]
    general = offer.partition(separator)[0]
    if separator == "-":
        ranges = [weight for name, weight in wanted.items() if name.partition("-")[0] == offer]
        if ranges:
            return max(ranges)
        return wanted.get("*", 0.0)
    return wanted.get(f"{general}/*", wanted.get("*/*", 0.0))


router: Final = APIRouter(prefix="/v1", tags=["Reports"])

_MEDIA_TYPES: Final[dict[ReportFormat, str]] = {"html": "text/html", "pdf": "application/pdf"}
_LANGUAGES: Final[tuple[ReportLanguage, ...]] = ("en", "fr")
_NAME: Final = 60

Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]
BoxesParameter = Annotated[
    list[str], Query(max_length=MAX_BOXES, description="Only this box of the site; several by `box=a&box=b`")
]
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    **document_problems(401, 403, 404, 422, 429, 503),
    200: {
        "description": "The report",
        "content": {
            "text/html": {"schema": {"type": "string"}, "example": '<!doctype html>\n<html lang="en">…'},
            "application/pdf": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


class ReportOptions:
    """What both reports take.

    Attributes:
        form, language: what is to be made.
        boxes: the only boxes that it is of; none: all.
    """

    def __init__(
        self,
        request: Request,
        *,
        form: Annotated[
            ReportFormat | None,
            Query(alias="format", description="HTML or PDF: by default what `Accept` prefers, else HTML"),
        ] = None,
        language: Annotated[
            ReportLanguage | None,
            Query(description="English or French: by default what `Accept-Language` prefers, else English"),
        ] = None,
        box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    ) -> None:
        by_type = {name: kind for kind, name in _MEDIA_TYPES.items()}
        accepted = select_preferred_offer(request.headers.get("accept", ""), list(by_type), separator="/")
        spoken = select_preferred_offer(request.headers.get("accept-language", ""), _LANGUAGES, separator="-")
        self.form = form or by_type[accepted]
        self.language: ReportLanguage = language or ("fr" if spoken == "fr" else "en")
        self.boxes = box


Choice = Annotated[ReportOptions, Depends(make_async_dependency(ReportOptions))]


@router.get(
    "/sites/{site_id}/reports/day",
    operation_id="get_site_daily_report",
    summary="Daily report of a site",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_site_daily_report(
    site_id: str,
    request: Request,
    principal: Reader,
    database: Annotated[Database, Depends(get_database)],
    asked: Choice,
    *,
    day: Annotated[
        date | None,
        Query(alias="date", description="A day of the site that is over; the last one by default"),
    ] = None,
) -> Response:
    """A report for people on one local day, as HTML or PDF, in English or French.

    The part on alerts needs `alerts:read` too; without it the report says that it was left out. It is of 100
    boxes at most.
    """
    given = _Given(site_id, request, principal, database, asked)
    return await _report(given, "day", partial(resolve_day_slot, day))


@router.get(
    "/sites/{site_id}/reports/month",
    operation_id="get_site_monthly_report",
    summary="Monthly report of a site",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_site_monthly_report(
    site_id: str,
    request: Request,
    principal: Reader,
    database: Annotated[Database, Depends(get_database)],
    asked: Choice,
    *,
    month: Annotated[
        str | None,
        Query(
            description="A month of the site that is over; the last one by default",
            pattern="^[0-9]{4}-(0[1-9]|1[0-2])$",
            examples=["2026-10"],
        ),
    ] = None,
) -> Response:
    """The same on a month: by day instead of by hour."""
    given = _Given(site_id, request, principal, database, asked)
    return await _report(given, "month", partial(resolve_month_slot, month))


class _Given(NamedTuple):
    """What both calls were given."""

    site_id: str
    request: Request
    principal: Principal
    database: Database
    asked: ReportOptions


async def _report(
    given: _Given, length: ReportLength, slot_of: Callable[[ZoneInfo, int], DatedPeriod]
) -> Response:
    principal, asked, now = given.principal, given.asked, datetime.now(UTC)
    visible = principal.visible()
    printers: ReportProcessPool = given.request.app.state.printers
    async with printers.place(principal.tree, asked.form, given.request.receive):
        async with given.database.read() as session:
            site = await find_site(session, parse_id(given.site_id, "site"), visible)
            if site is None:
                raise NotFoundError("site", given.site_id)
            slot = slot_of(ZoneInfo(site.timezone), from_datetime(now))
            stations = await find_indexed_boxes(session, site.id, asked.boxes, visible)
            may = principal.may("alerts:read")
            wanted = ReportRequest(length, slot, asked.language, asked.form, visible, may, now)
            material = await gather_report_input(session, site, stations, wanted)
        # The connection is given back: the child takes longer than all queries.
        made = await printers.printed(pack_report_input(material))
    period = f"{slot.first:%Y-%m-%d}" if length == "day" else f"{slot.first:%Y-%m}"
    return Response(made, media_type=_MEDIA_TYPES[asked.form], headers=_headers(site, asked, period))


def _headers(site: Site, asked: ReportOptions, period: str) -> dict[str, str]:
    plain = unicodedata.normalize("NFKD", site.name).encode("ascii", "ignore").decode().lower()
    words = "".join(char if char.isalnum() else " " for char in plain).split()
    name = "-".join(["vigie", *words])[:_NAME]
    return {
        "Content-Language": asked.language,
        "Content-Disposition": f'inline; filename="{name}-{period}-{asked.language}.{asked.form}"',
        "Vary": "Accept, Accept-Language",
        "Content-Security-Policy": f"{build_report_csp()}; frame-ancestors 'none'",
    }
