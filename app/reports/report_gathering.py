"""Reads the input of a report in one read transaction.

It selects the default figures of each box (`app.environmental_indices.service`). Only figures of single
samples are computed here; the child process computes the others.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.environmental_indices.boxes_and_read_limits import MAX_SAMPLES, IndexedBox
from app.environmental_indices.index_definitions import (
    INDEX_DEFINITIONS,
    IndexDefinition,
    MethodOptions,
)
from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.period_selection import DatedPeriod, TimePeriod
from app.environmental_indices.service import (
    IndexComputation,
    SiteContext,
    compute_index_values,
    select_metrics,
)
from app.environmental_indices.site_surroundings import (
    country_of_timezone,
    is_computed_by_default,
    season_of,
)
from app.platform.kernel.instants import from_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site
from app.registry.organisation_repository import find_organisation
from app.reports import queries
from app.reports.alert_statistics import read_alert_statistics
from app.reports.report_input import (
    AlertStatistics,
    ReportBoxInput,
    ReportFormat,
    ReportInput,
    ReportLanguage,
    ReportLength,
)
from app.reports.report_periods import find_previous_slot


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A requested report.

    Attributes:
        length, slot: day, week or month, and its dates.
        language, form: language and format.
        visible: the tenant scope of the caller.
        alerts: whether the caller may read alerts.
        now: the time of the request.
    """

    length: ReportLength
    slot: DatedPeriod
    language: ReportLanguage
    form: ReportFormat
    visible: TenantScope
    alerts: bool
    now: datetime


_SAMPLED: Final = tuple(
    figure for figure in INDEX_DEFINITIONS.values() if figure.source == "samples" and figure.is_default
)


async def gather_report_input(
    session: AsyncSession, site: Site, stations: list[IndexedBox], request: ReportRequest
) -> ReportInput:
    """Read the input of a report on a site.

    Args:
        session: the session.
        site: the site.
        stations: the boxes of the report.
        request: the requested report.
    """
    zone = ZoneInfo(site.timezone)
    choices = MethodOptions(
        zone, season_of(request.slot.last, site.latitude), country_of_timezone(site.timezone)
    )
    context = SiteContext(site, choices, is_season_explicit=False)
    earlier = find_previous_slot(request.slot, zone)
    span = _span(earlier, request.slot, choices)
    figures = {station.key: _list_figures(context, station) for station in stations}
    sampled = await _compute_sampled(session, context, stations, request)
    names = await queries.read_box_names(session, [station.key for station in stations])
    hours = await queries.read_hourly_summaries(session, stations, span)
    boxes = [
        ReportBoxInput(
            id=station.id,
            name=names.get(station.key),
            interval_s=station.interval_s,
            hours=hours[station.key],
            figures=figures[station.key],
            sampled=[] if sampled is None else sampled[station.key],
        )
        for station in stations
    ]
    organisation = await find_organisation(session, site.organisation_id, request.visible)
    return ReportInput(
        length=request.length,
        first=request.slot.first,
        last=request.slot.last,
        timezone=site.timezone,
        latitude=site.latitude,
        country=choices.country,
        organisation="" if organisation is None else organisation.name,
        site=site.name,
        kind=site.kind,
        language=request.language,
        form=request.form,
        made_us=from_datetime(request.now),
        boxes=boxes,
        alerts=await _alerts(session, site, request, earlier),
        flags=await queries.count_flags(session, stations, request.slot.period),
        odours_left_out=sampled is None,
    )


def _span(earlier: DatedPeriod, slot: DatedPeriod, choices: MethodOptions) -> TimePeriod:
    """Return the time from the previous period to the end of the last noise day (in the morning)."""
    noise_day = DatedPeriod.of_days(slot.last, slot.last, choices.zone, choices.noise_begin)
    return TimePeriod(earlier.period.start_us, max(slot.period.end_us, noise_day.period.end_us))


def _list_figures(context: SiteContext, station: IndexedBox) -> list[tuple[str, str | None]]:
    """List the default figures of a box that the child computes: those of hourly means."""
    return [
        (figure.method.name, metric)
        for figure in INDEX_DEFINITIONS.values()
        if figure.source == "hours" and _is_default(context, station, figure)
        for metric in select_metrics(station, figure, only_measured=True)
    ]


def _is_default(context: SiteContext, station: IndexedBox, figure: IndexDefinition) -> bool:
    return is_computed_by_default(figure, (station.kind, context.site.kind), context.choices.country)


async def _compute_sampled(
    session: AsyncSession, context: SiteContext, stations: list[IndexedBox], request: ReportRequest
) -> dict[int, list[IndexResult]] | None:
    """Compute the default figures of single samples, by box; None: there are too many samples."""
    rows = [
        IndexComputation(station, figure, metric, request.slot)
        for station in stations
        for figure in _SAMPLED
        if _is_default(context, station, figure)
        for metric in select_metrics(station, figure, only_measured=True)
    ]
    if sum(row.effort[1] for row in rows) > MAX_SAMPLES:
        return None
    found: dict[int, list[IndexResult]] = {station.key: [] for station in stations}
    for row, result in await compute_index_values(session, context, rows):
        found[row.station.key].append(result)
    return found


async def _alerts(
    session: AsyncSession, site: Site, request: ReportRequest, earlier: DatedPeriod
) -> AlertStatistics | None:
    if not request.alerts:
        return None
    spans = (request.slot.period, earlier.period)
    return await read_alert_statistics(
        session, site.id, request.visible, spans, request.now, language=request.language
    )
