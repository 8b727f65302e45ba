"""Figures of a site's boxes: which there are of now, and how they are computed.

Owns which figures a box has, which periods they are of, and how much is read for them. Nothing is stored:
they are computed of what is there when they are asked for.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.indicators.box_queries import (
    MAX_HOURS,
    MAX_SAMPLES,
    IndexedBox,
    InputNeeds,
    estimate_read_count,
    too_many_samples_error,
)
from app.indicators.index_definitions import (
    INDEX_DEFINITIONS,
    IndexDefinition,
    InputSource,
    MethodOptions,
    worst_sort_key,
)
from app.indicators.index_results import IndexResult
from app.indicators.input_queries import InputRequest, MeasurementsByBox, read_measurements
from app.indicators.noise_emergence import DAY_BEGIN, DAY_END
from app.indicators.period_selection import (
    DatedPeriod,
    PeriodLength,
    TimePeriod,
    find_last_complete_period,
    local_date,
    resolve_local_time,
)
from app.indicators.site_conditions import is_computed_by_default, season_of
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Site

READ_BUDGETS: Final[dict[InputSource, int]] = {"hours": MAX_HOURS, "samples": MAX_SAMPLES}
"""How many values are looked at in one call, by their sort."""


class IndexComputation(NamedTuple):
    """A figure to be computed: of a box and a period, and of a metric where a method has one of each."""

    station: IndexedBox
    figure: IndexDefinition
    metric: str | None
    slot: DatedPeriod

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it reads."""
        return self.figure.method.metrics if self.metric is None else (self.metric,)

    @property
    def key(self) -> tuple[int, str, str]:
        """Where it stands in a history."""
        return self.slot.period.start_us, self.station.id, self.metric or ""

    @property
    def effort(self) -> tuple[InputSource, int]:
        """How much it reads, and of which sort."""
        measured = sum(metric in self.station.metrics for metric in self.metrics)
        return estimate_read_count(self.figure, measured, self.slot.period, self.station.interval_s)


class ComputedIndex(NamedTuple):
    """A row and what came out."""

    row: IndexComputation
    result: IndexResult


@dataclass(frozen=True, slots=True)
class SiteContext:
    """A site with what was chosen for it.

    Attributes:
        site: the row.
        choices: of the caller, or by where the site is.
        season_said: whether the caller said it; else it is that of each period.
    """

    site: Site
    choices: MethodOptions
    season_said: bool

    @property
    def zone(self) -> ZoneInfo:
        """The site's."""
        return self.choices.zone

    def choices_for(self, slot: DatedPeriod) -> MethodOptions:
        """The choices for a period."""
        if self.season_said:
            return self.choices
        return replace(self.choices, season=season_of(slot.last, self.site.latitude))


def find_index_definition(name: str) -> IndexDefinition:
    """How a method is asked for (InvalidError `unknown_method`)."""
    figure = INDEX_DEFINITIONS.get(name)
    if figure is None:
        raise InvalidError(
            f"The method {format_rejected_value(name)} is not one of those that there are: see GET "
            f"/v1/indices.",
            code="unknown_method",
        )
    return figure


def list_current_computations(
    place: SiteContext,
    stations: Sequence[IndexedBox],
    named: Sequence[str],
    at_us: int,
    asked: PeriodLength | None,
) -> list[IndexComputation]:
    """What is to be computed of the last periods that are over.

    Args:
        place: the site.
        stations: its boxes.
        named: methods; none: those that fit the place, of metrics that a box measures.
        at_us: now, or the instant that is asked about.
        asked: the period, of methods that can be of several.
    """
    figures = [find_index_definition(name) for name in dict.fromkeys(named)]
    found: list[IndexComputation] = []
    for station in stations:
        for figure in figures or INDEX_DEFINITIONS.values():
            kinds = (station.kind, place.site.kind)
            if not figures and not is_computed_by_default(figure, kinds, place.choices.country):
                continue
            metrics = select_metrics(station, figure, unasked=not figures)
            for slot in _slots_now(place, figure, at_us, asked) if metrics else ():
                found += [IndexComputation(station, figure, metric, slot) for metric in metrics]
    return found


def select_metrics(station: IndexedBox, figure: IndexDefinition, *, unasked: bool) -> Sequence[str | None]:
    """For which metrics a box has a figure: None stands for one of all that the method reads."""
    measured = [metric for metric in figure.method.metrics if metric in station.metrics]
    if unasked and not measured:
        return ()
    return (measured or figure.method.metrics) if figure.each else (None,)


def _slots_now(
    place: SiteContext, figure: IndexDefinition, at_us: int, asked: PeriodLength | None
) -> Iterable[DatedPeriod]:
    if not figure.lengths:
        return _noisy_parts(place)
    length = asked if asked in figure.lengths else figure.lengths[0]
    return (find_last_complete_period(length, at_us, place.zone, figure.begin(place.choices)),)


def _noisy_parts(place: SiteContext) -> list[DatedPeriod]:
    """The days (7 to 22 h) and nights in which the caller says that a noise begins (`noise_missing`)."""
    if not place.choices.noise:
        raise InvalidError(
            "noise-emergence needs to know when the noise is heard: give `noise=<begin>/<end>`.",
            code="noise_missing",
        )
    found: dict[TimePeriod, DatedPeriod] = {}
    for begin, _ in place.choices.noise:
        day = local_date(begin, place.zone)
        turns = [resolve_local_time(day, at, place.zone) for at in (DAY_BEGIN, DAY_END)]
        if begin < turns[0]:
            period = TimePeriod(resolve_local_time(day - timedelta(days=1), DAY_END, place.zone), turns[0])
        elif begin < turns[1]:
            period = TimePeriod(turns[0], turns[1])
        else:
            period = TimePeriod(turns[1], resolve_local_time(day + timedelta(days=1), DAY_BEGIN, place.zone))
        found.setdefault(period, DatedPeriod(period, local_date(period.start_us, place.zone), day))
    return list(found.values())


def check_read_budget(rows: Iterable[IndexComputation]) -> None:
    """Refuse what would read too much (InvalidError `range_too_large`)."""
    totals = dict.fromkeys(READ_BUDGETS, 0)
    for row in rows:
        source, count = row.effort
        totals[source] += count
    if totals["samples"] > MAX_SAMPLES:
        raise too_many_samples_error(totals["samples"])
    if totals["hours"] > MAX_HOURS:
        raise InvalidError(
            f"About {totals['hours']:,} hourly means would be looked at, of {MAX_HOURS:,} at most. Name "
            "fewer boxes with `box`, or methods with `method`.",
            code="range_too_large",
            extra={"maximum_hours": MAX_HOURS},
        )


async def compute_index_values(
    session: AsyncSession, place: SiteContext, rows: Sequence[IndexComputation]
) -> list[ComputedIndex]:
    """Compute rows, in their order: each box's metrics are read once, those of many boxes together."""
    of: dict[int, list[IndexComputation]] = defaultdict(list)
    for row in rows:
        of[row.station.key].append(row)
    wanted = []
    for each in of.values():
        needs = InputNeeds()
        for row in each:
            needs.add(row.figure, row.metrics, row.slot.period)
        wanted.append(InputRequest(each[0].station, needs))
    found: dict[tuple[object, ...], IndexResult] = {}
    async for some in read_measurements(session, wanted):
        # A year of a model that goes hour by hour takes a while: other requests go on meanwhile.
        found |= await asyncio.to_thread(_results, place, of, some)
    return [ComputedIndex(row, found[_identity(row)]) for row in rows]


def _results(
    place: SiteContext, rows: Mapping[int, Sequence[IndexComputation]], some: MeasurementsByBox
) -> dict[tuple[object, ...], IndexResult]:
    return {
        _identity(row): row.figure.compute(
            material, row.metric or row.figure.method.metrics[0], row.slot, place.choices_for(row.slot)
        )
        for key, material in some.items()
        for row in rows[key]
    }


def _identity(row: IndexComputation) -> tuple[object, ...]:
    return row.station.key, row.figure.method.name, row.metric, row.slot.period


def find_worst_boxes(found: Iterable[ComputedIndex]) -> list[ComputedIndex]:
    """Of each method and metric the box with the worst value: the first one of several."""
    worst: dict[tuple[str, str | None], ComputedIndex] = {}
    for each in found:
        if each.result.value is None:
            continue
        of = (each.row.figure.method.name, each.row.metric)
        if of not in worst or worst_sort_key(each.result) > worst_sort_key(worst[of].result):
            worst[of] = each
    return list(worst.values())
