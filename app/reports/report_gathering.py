"""Puts together what a report is made of, in one transaction that reads.

Owns which figures are asked of which boxes: those that they have unasked (`app.indicators.service`). Must not
compute what the child can.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.indicators.box_queries import MAX_SAMPLES, IndexedBox
from app.indicators.index_definitions import INDEX_DEFINITIONS, IndexDefinition, MethodOptions
from app.indicators.index_results import IndexResult
from app.indicators.period_selection import DatedPeriod, TimePeriod
from app.indicators.service import IndexComputation, SiteContext, compute_index_values, select_metrics
from app.indicators.site_conditions import country_of_timezone, is_computed_by_default, season_of
from app.platform.kernel.instants import from_datetime
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site
from app.registry.repository import find_organisation
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
    """What is asked for.

    Attributes:
        length, slot: whether it is of a day or a month, and of which.
        language, form: what is to be made.
        visible: what the caller may see.
        alerts: whether it may read alerts.
        now: when.
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
    session: AsyncSession, site: Site, stations: list[IndexedBox], wanted: ReportRequest
) -> ReportInput:
    """All that a report on a site is made of.

    Args:
        session: reads it.
        site: the row.
        stations: the boxes that it is of.
        wanted: what is asked for.
    """
    zone = ZoneInfo(site.timezone)
    choices = MethodOptions(
        zone, season_of(wanted.slot.last, site.latitude), country_of_timezone(site.timezone)
    )
    place = SiteContext(site, choices, is_season_explicit=False)
    earlier = find_previous_slot(wanted.slot, zone)
    span = _span(earlier, wanted.slot, choices)
    figures = {station.key: _figures_of(place, station) for station in stations}
    sampled = await _sampled(session, place, stations, wanted)
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
    organisation = await find_organisation(session, site.organisation_id, wanted.visible)
    return ReportInput(
        length=wanted.length,
        first=wanted.slot.first,
        last=wanted.slot.last,
        timezone=site.timezone,
        latitude=site.latitude,
        country=choices.country,
        organisation="" if organisation is None else organisation.name,
        site=site.name,
        kind=site.kind,
        language=wanted.language,
        form=wanted.form,
        made_us=from_datetime(wanted.now),
        boxes=boxes,
        alerts=await _alerts(session, site, wanted, earlier),
        flags=await queries.count_flags(session, stations, wanted.slot.period),
        odours_left_out=sampled is None,
    )


def _span(earlier: DatedPeriod, slot: DatedPeriod, choices: MethodOptions) -> TimePeriod:
    """From the period before on, to the end of the last day of noise."""
    noisy = DatedPeriod.of_days(slot.last, slot.last, choices.zone, choices.noise_begin)
    return TimePeriod(earlier.period.start_us, max(slot.period.end_us, noisy.period.end_us))


def _figures_of(place: SiteContext, station: IndexedBox) -> list[tuple[str, str | None]]:
    """The figures that a box has unasked, but for those of samples, which are computed here."""
    return [
        (figure.method.name, metric)
        for figure in INDEX_DEFINITIONS.values()
        if figure.source == "hours" and _fits(place, station, figure)
        for metric in select_metrics(station, figure, only_measured=True)
    ]


def _fits(place: SiteContext, station: IndexedBox, figure: IndexDefinition) -> bool:
    return is_computed_by_default(figure, (station.kind, place.site.kind), place.choices.country)


async def _sampled(
    session: AsyncSession, place: SiteContext, stations: list[IndexedBox], wanted: ReportRequest
) -> dict[int, list[IndexResult]] | None:
    """Results of figures of samples, by box; None where there are too many samples to look at."""
    rows = [
        IndexComputation(station, figure, metric, wanted.slot)
        for station in stations
        for figure in _SAMPLED
        if _fits(place, station, figure)
        for metric in select_metrics(station, figure, only_measured=True)
    ]
    if sum(row.effort[1] for row in rows) > MAX_SAMPLES:
        return None
    found: dict[int, list[IndexResult]] = {station.key: [] for station in stations}
    for row, result in await compute_index_values(session, place, rows):
        found[row.station.key].append(result)
    return found


async def _alerts(
    session: AsyncSession, site: Site, wanted: ReportRequest, earlier: DatedPeriod
) -> AlertStatistics | None:
    if not wanted.alerts:
        return None
    spans = (wanted.slot.period, earlier.period)
    return await read_alert_statistics(
        session, site.id, wanted.visible, spans, wanted.now, language=wanted.language
    )
