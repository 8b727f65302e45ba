"""Selects the indices of a site's boxes and computes them from stored measurements at request time.

Decides which indices a box has and for which periods, and enforces the read limits of a request. Results are
not stored.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.environmental_indices.boxes_and_read_limits import (
    MAX_HOURS,
    MAX_SAMPLES,
    IndexedBox,
    InputNeeds,
    estimate_read_count,
    too_many_samples_error,
)
from app.environmental_indices.index_definitions import (
    INDEX_DEFINITIONS,
    IndexDefinition,
    InputSource,
    MethodOptions,
    worst_sort_key,
)
from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.input_queries import InputRequest, MeasurementsByBox, read_measurements
from app.environmental_indices.noise_emergence import DAY_BEGIN, DAY_END
from app.environmental_indices.period_selection import (
    DatedPeriod,
    PeriodLength,
    TimePeriod,
    find_last_complete_period,
    local_date,
    resolve_local_time,
)
from app.environmental_indices.site_surroundings import is_computed_by_default, season_of
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Site

READ_BUDGETS: Final[dict[InputSource, int]] = {"hours": MAX_HOURS, "samples": MAX_SAMPLES}
"""The most values that one request reads, by kind."""


class IndexComputation(NamedTuple):
    """An index to compute for a box and a period, and for a metric if the method has one value for each."""

    station: IndexedBox
    figure: IndexDefinition
    metric: str | None
    slot: DatedPeriod

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it reads."""
        return self.figure.method.metrics if self.metric is None else (self.metric,)

    @property
    def key(self) -> tuple[int, str, str]:
        """Its sort key in a history."""
        return self.slot.period.start_us, self.station.id, self.metric or ""

    @property
    def effort(self) -> tuple[InputSource, int]:
        """The kind of values that it reads, and their estimated number."""
        measured = sum(metric in self.station.metrics for metric in self.metrics)
        return estimate_read_count(self.figure, measured, self.slot.period, self.station.interval_s)


class ComputedIndex(NamedTuple):
    """A computation and its result."""

    row: IndexComputation
    result: IndexResult


@dataclass(frozen=True, slots=True)
class SiteContext:
    """A site with the options of a request.

    Attributes:
        site: the row of the site.
        choices: the options, from the request or the defaults of the site.
        is_season_explicit: whether the request set the season; else it follows from each period.
    """

    site: Site
    choices: MethodOptions
    is_season_explicit: bool

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the site."""
        return self.choices.zone

    def choices_for(self, slot: DatedPeriod) -> MethodOptions:
        """Return the options for a period."""
        if self.is_season_explicit:
            return self.choices
        return replace(self.choices, season=season_of(slot.last, self.site.latitude))


def find_index_definition(name: str) -> IndexDefinition:
    """Find the definition of a method (InvalidError `unknown_method`)."""
    figure = INDEX_DEFINITIONS.get(name)
    if figure is None:
        raise InvalidError(
            f"The method {format_rejected_value(name)} does not exist. List the methods with "
            "GET /v1/indices.",
            code="unknown_method",
        )
    return figure


def list_current_computations(
    context: SiteContext,
    stations: Sequence[IndexedBox],
    named: Sequence[str],
    at_us: int,
    requested_length: PeriodLength | None,
) -> list[IndexComputation]:
    """List the computations of the last complete periods.

    Args:
        context: the site.
        stations: its boxes.
        named: method names; empty: those that fit the kind of place, for metrics that the box measures.
        at_us: the instant by which periods ended, µs since the epoch.
        requested_length: the period length, for methods that support it.
    """
    figures = [find_index_definition(name) for name in dict.fromkeys(named)]
    found: list[IndexComputation] = []
    for station in stations:
        for figure in figures or INDEX_DEFINITIONS.values():
            kinds = (station.kind, context.site.kind)
            if not figures and not is_computed_by_default(figure, kinds, context.choices.country):
                continue
            metrics = select_metrics(station, figure, only_measured=not figures)
            for slot in _find_slots(context, figure, at_us, requested_length) if metrics else ():
                found += [IndexComputation(station, figure, metric, slot) for metric in metrics]
    return found


def select_metrics(
    station: IndexedBox, figure: IndexDefinition, *, only_measured: bool
) -> Sequence[str | None]:
    """Select the metrics for which a box has the index; None stands for all metrics of the method together.

    With `only_measured`, the result is empty if the box measures none of them.
    """
    measured = [metric for metric in figure.method.metrics if metric in station.metrics]
    if only_measured and not measured:
        return ()
    return (measured or figure.method.metrics) if figure.each else (None,)


def _find_slots(
    context: SiteContext, figure: IndexDefinition, at_us: int, requested_length: PeriodLength | None
) -> Iterable[DatedPeriod]:
    if not figure.lengths:
        return _find_noise_slots(context)
    length = requested_length if requested_length in figure.lengths else figure.lengths[0]
    return (find_last_complete_period(length, at_us, context.zone, figure.begin(context.choices)),)


def _find_noise_slots(context: SiteContext) -> list[DatedPeriod]:
    """Find the days (7:00 to 22:00) and nights in which the given noise begins (`noise_missing`)."""
    if not context.choices.noise:
        raise InvalidError(
            "noise-emergence needs the periods in which the noise is heard. Add `noise=<begin>/<end>`.",
            code="noise_missing",
        )
    found: dict[TimePeriod, DatedPeriod] = {}
    for begin, _ in context.choices.noise:
        day = local_date(begin, context.zone)
        morning, evening = (resolve_local_time(day, at, context.zone) for at in (DAY_BEGIN, DAY_END))
        if begin < morning:
            period = TimePeriod(resolve_local_time(day - timedelta(days=1), DAY_END, context.zone), morning)
        elif begin < evening:
            period = TimePeriod(morning, evening)
        else:
            period = TimePeriod(evening, resolve_local_time(day + timedelta(days=1), DAY_BEGIN, context.zone))
        found.setdefault(period, DatedPeriod(period, local_date(period.start_us, context.zone), day))
    return list(found.values())


def check_read_budget(rows: Iterable[IndexComputation]) -> None:
    """Refuse computations beyond the read limits of a request (InvalidError `range_too_large`)."""
    totals = dict.fromkeys(READ_BUDGETS, 0)
    for row in rows:
        source, count = row.effort
        totals[source] += count
    if totals["samples"] > MAX_SAMPLES:
        raise too_many_samples_error(totals["samples"])
    if totals["hours"] > MAX_HOURS:
        raise InvalidError(
            f"The request would read about {totals['hours']:,} hourly means; the limit is {MAX_HOURS:,}. "
            "Choose fewer boxes with `box`, or fewer methods with `method`.",
            code="range_too_large",
            extra={"maximum_hours": MAX_HOURS},
        )


async def compute_index_values(
    session: AsyncSession, context: SiteContext, rows: Sequence[IndexComputation]
) -> list[ComputedIndex]:
    """Compute rows, in their order. Each metric of a box is read once, in batches of boxes."""
    of: dict[int, list[IndexComputation]] = defaultdict(list)
    for row in rows:
        of[row.station.key].append(row)
    requests = []
    for each in of.values():
        needs = InputNeeds()
        for row in each:
            needs.add(row.figure, row.metrics, row.slot.period)
        requests.append(InputRequest(each[0].station, needs))
    found: dict[tuple[object, ...], IndexResult] = {}
    async for measurements in read_measurements(session, requests):
        # In a thread: a year of an hourly model would block other requests.
        found |= await asyncio.to_thread(_results, context, of, measurements)
    return [ComputedIndex(row, found[_identity(row)]) for row in rows]


def _results(
    context: SiteContext, rows: Mapping[int, Sequence[IndexComputation]], measurements: MeasurementsByBox
) -> dict[tuple[object, ...], IndexResult]:
    return {
        _identity(row): row.figure.compute(
            measured, row.metric or row.figure.method.metrics[0], row.slot, context.choices_for(row.slot)
        )
        for key, measured in measurements.items()
        for row in rows[key]
    }


def _identity(row: IndexComputation) -> tuple[object, ...]:
    return row.station.key, row.figure.method.name, row.metric, row.slot.period


def find_worst_boxes(found: Iterable[ComputedIndex]) -> list[ComputedIndex]:
    """Find the box with the worst value of each method and metric; of several, the first one."""
    worst: dict[tuple[str, str | None], ComputedIndex] = {}
    for each in found:
        if each.result.value is None:
            continue
        of = (each.row.figure.method.name, each.row.metric)
        if of not in worst or worst_sort_key(each.result) > worst_sort_key(worst[of].result):
            worst[of] = each
    return list(worst.values())
