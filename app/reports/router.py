"""Serves daily, weekly and monthly reports, and negotiates format and language (RFC 9110, 12.5)."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.environmental_indices.boxes_and_read_limits import MAX_BOXES, find_indexed_boxes
from app.environmental_indices.period_selection import DatedPeriod
from app.platform.db.database import Database
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import DatabaseDependency, make_async_dependency
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import from_datetime
from app.registry.site_repository import find_site
from app.reports.period_labels import make_file_name
from app.reports.process_pool import ReportProcessPool
from app.reports.render.content_security_policy import build_report_csp
from app.reports.report_gathering import ReportRequest, gather_report_input
from app.reports.report_input import (
    CSV_COLUMNS,
    ReportFormat,
    ReportLanguage,
    ReportLength,
    pack_report_input,
)
from app.reports.report_periods import resolve_day_slot, resolve_month_slot, resolve_week_slot


def select_preferred_offer(header: str, offered: Sequence[str], *, separator: str) -> str:
    """Select the offer that a client prefers; the first one if it has no preference, or accepts none.

    Args:
        header: the value of `Accept` or `Accept-Language`; empty: the header is missing.
        offered: the offers, such as `("text/html", "application/pdf")`.
        separator: `/` for media types, `-` for languages. It ends the general part of an offer.
    """
    ranges = _parse_weights(header)
    weights = [_weigh(each, ranges, separator) for each in offered]
    best = max(weights, default=0.0)
    return offered[weights.index(best)] if best > 0 else offered[0]


def _parse_weights(header: str) -> dict[str, float]:
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


def _weigh(offer: str, ranges: dict[str, float], separator: str) -> float:
    """Return the weight of the most specific range that matches an offer. `fr` also serves `fr-CA`."""
    if offer in ranges:
        return ranges[offer]
    general = offer.partition(separator)[0]
    if separator == "-":
        weights = [weight for name, weight in ranges.items() if name.partition("-")[0] == offer]
        if weights:
            return max(weights)
        return ranges.get("*", 0.0)
    return ranges.get(f"{general}/*", ranges.get("*/*", 0.0))


router: Final = APIRouter(prefix="/v1", tags=["Reports"])

_MEDIA_TYPES: Final[dict[ReportFormat, str]] = {
    "html": "text/html",
    "pdf": "application/pdf",
    "csv": "text/csv",
}
_LANGUAGES: Final[tuple[ReportLanguage, ...]] = ("en", "fr")

Reader = Annotated[Principal, Depends(require_scope("telemetry:read"))]
BoxesParameter = Annotated[
    list[str],
    Query(
        max_length=MAX_BOXES, description="Only this box of the site. Repeat it for several: `box=a&box=b`."
    ),
]
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    **document_problems(401, 403, 404, 422, 429, 503),
    200: {
        "description": "The report",
        "content": {
            "text/html": {"schema": {"type": "string"}, "example": '<!doctype html>\n<html lang="en">…'},
            "application/pdf": {"schema": {"type": "string", "format": "binary"}},
            "text/csv": {"schema": {"type": "string"}, "example": f"{','.join(CSV_COLUMNS)}\r\n…"},
        },
    },
}


class ReportOptions:
    """The common query parameters of reports.

    Attributes:
        form, language: format and language.
        boxes: the ids of the boxes; empty: all.
    """

    def __init__(
        self,
        request: Request,
        *,
        form: Annotated[
            ReportFormat | None,
            Query(
                alias="format",
                description="HTML or PDF, or the measurements as CSV. By default the format that `Accept` "
                "prefers.",
            ),
        ] = None,
        language: Annotated[
            ReportLanguage | None,
            Query(description="English or French. By default the language that `Accept-Language` prefers."),
        ] = None,
        box: BoxesParameter = [],  # noqa: B006 (FastAPI copies it)
    ) -> None:
        by_type = {name: kind for kind, name in _MEDIA_TYPES.items()}
        accepted = select_preferred_offer(request.headers.get("accept", ""), list(by_type), separator="/")
        preferred = select_preferred_offer(
            request.headers.get("accept-language", ""), _LANGUAGES, separator="-"
        )
        self.form = form or by_type[accepted]
        self.language: ReportLanguage = language or ("fr" if preferred == "fr" else "en")
        self.boxes = box


ReportOptionsDependency = Annotated[ReportOptions, Depends(make_async_dependency(ReportOptions))]


@router.get(
    "/sites/{site_id}/reports/day",
    summary="Daily report of a site",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_site_daily_report(
    site_id: str,
    request: Request,
    principal: Reader,
    database: DatabaseDependency,
    options: ReportOptionsDependency,
    *,
    day: Annotated[
        date | None,
        Query(alias="date", description="A complete local day of the site. By default the last one."),
    ] = None,
) -> Response:
    """Return a report on one local day, as HTML or PDF, in English or French, or its measurements as CSV.

    It covers at most 100 boxes. The section on alerts needs the scope `alerts:read`. Without it, the report
    says that the section was left out.
    """
    call = _ReportCall(site_id, request, principal, database, options)
    return await _render(call, "day", partial(resolve_day_slot, day))


@router.get(
    "/sites/{site_id}/reports/week",
    summary="Weekly report of a site",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_site_weekly_report(
    site_id: str,
    request: Request,
    principal: Reader,
    database: DatabaseDependency,
    options: ReportOptionsDependency,
    *,
    day: Annotated[
        date | None,
        Query(
            alias="date",
            description="A local day in a complete week, from Monday to Sunday. By default the last week.",
        ),
    ] = None,
) -> Response:
    """Return a report on one local week, from Monday to Sunday, with values by day instead of by hour."""
    call = _ReportCall(site_id, request, principal, database, options)
    return await _render(call, "week", partial(resolve_week_slot, day))


@router.get(
    "/sites/{site_id}/reports/month",
    summary="Monthly report of a site",
    response_class=Response,
    responses=_ANSWERS,
)
async def get_site_monthly_report(
    site_id: str,
    request: Request,
    principal: Reader,
    database: DatabaseDependency,
    options: ReportOptionsDependency,
    *,
    month: Annotated[
        str | None,
        Query(
            description="A complete local month of the site. By default the last one.",
            pattern="^[0-9]{4}-(0[1-9]|1[0-2])$",
            examples=["2026-10"],
        ),
    ] = None,
) -> Response:
    """Return a report on one local month, with values by day instead of by hour."""
    call = _ReportCall(site_id, request, principal, database, options)
    return await _render(call, "month", partial(resolve_month_slot, month))


class _ReportCall(NamedTuple):
    """The arguments of each route."""

    site_id: str
    request: Request
    principal: Principal
    database: Database
    options: ReportOptions


async def _render(
    call: _ReportCall, length: ReportLength, resolve_slot: Callable[[ZoneInfo, int], DatedPeriod]
) -> Response:
    principal, options, now = call.principal, call.options, datetime.now(UTC)
    visible = principal.visible()
    report_processes = get_resource(call.request.app, ReportProcessPool)
    async with report_processes.slot(principal.tree, options.form, call.request.receive):
        async with call.database.read() as session:
            site = await find_site(session, parse_id(call.site_id, "site"), visible)
            if site is None:
                raise NotFoundError("site", call.site_id)
            slot = resolve_slot(ZoneInfo(site.timezone), from_datetime(now))
            stations = await find_indexed_boxes(session, site.id, options.boxes, visible)
            may = principal.may("alerts:read")
            request = ReportRequest(length, slot, options.language, options.form, visible, may, now)
            report_input = await gather_report_input(session, site, stations, request)
        # The connection is released first: rendering takes longer than all queries.
        made = await report_processes.render(pack_report_input(report_input))
    name = make_file_name(site.name, length, slot, options.language, options.form)
    return Response(made, media_type=_MEDIA_TYPES[options.form], headers=_headers(options, name))


def _headers(options: ReportOptions, name: str) -> dict[str, str]:
    return {
        "Content-Language": options.language,
        "Content-Disposition": f'inline; filename="{name}"',
        "Vary": "Accept, Accept-Language",
        "Content-Security-Policy": f"{build_report_csp()}; frame-ancestors 'none'",
    }
