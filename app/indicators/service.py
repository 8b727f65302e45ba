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

from app.indicators.box_queries import MAX_HOURS, MAX_SAMPLES, Needs, Station, effort, too_many_samples
from app.indicators.calendar_periods import Period, instant, local_date
from app.indicators.index_definitions import FIGURES, Choices, Figure, Source, gravity
from app.indicators.index_results import Result
from app.indicators.inputs import Materials, Wanted, materials
from app.indicators.noise_emergence import DAY_BEGIN, DAY_END
from app.indicators.period_selection import PeriodLength, Slot, last_over
from app.indicators.site_conditions import belongs, season_of
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.rejection_codes import shown
from app.registry.models import Site

BUDGETS: Final[dict[Source, int]] = {"hours": MAX_HOURS, "samples": MAX_SAMPLES}
"""How many values are looked at in one call, by their sort."""


class Row(NamedTuple):
    """A figure to be computed: of a box and a period, and of a metric where a method has one of each."""

    station: Station
    figure: Figure
    metric: str | None
    slot: Slot

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it reads."""
        return self.figure.method.metrics if self.metric is None else (self.metric,)

    @property
    def key(self) -> tuple[int, str, str]:
        """Where it stands in a history."""
        return self.slot.period.start_us, self.station.id, self.metric or ""

    @property
    def effort(self) -> tuple[Source, int]:
        """How much it reads, and of which sort."""
        measured = sum(metric in self.station.metrics for metric in self.metrics)
        return effort(self.figure, measured, self.slot.period, self.station.interval_s)


class Found(NamedTuple):
    """A row and what came out."""

    row: Row
    result: Result


@dataclass(frozen=True, slots=True)
class Place:
    """A site with what was chosen for it.

    Attributes:
        site: the row.
        choices: of the caller, or by where the site is.
        season_said: whether the caller said it; else it is that of each period.
    """

    site: Site
    choices: Choices
    season_said: bool

    @property
    def zone(self) -> ZoneInfo:
        """The site's."""
        return self.choices.zone

    def choices_for(self, slot: Slot) -> Choices:
        """The choices for a period."""
        if self.season_said:
            return self.choices
        return replace(self.choices, season=season_of(slot.last, self.site.latitude))


def figure_named(name: str) -> Figure:
    """How a method is asked for (InvalidError `unknown_method`)."""
    figure = FIGURES.get(name)
    if figure is None:
        raise InvalidError(
            f"The method {shown(name)} is not one of those that there are: see GET /v1/indices.",
            code="unknown_method",
        )
    return figure


def rows_now(
    place: Place, stations: Sequence[Station], named: Sequence[str], at_us: int, asked: PeriodLength | None
) -> list[Row]:
    """What is to be computed of the last periods that are over.

    Args:
        place: the site.
        stations: its boxes.
        named: methods; none: those that fit the place, of metrics that a box measures.
        at_us: now, or the instant that is asked about.
        asked: the period, of methods that can be of several.
    """
    figures = [figure_named(name) for name in dict.fromkeys(named)]
    found: list[Row] = []
    for station in stations:
        for figure in figures or FIGURES.values():
            kinds = (station.kind, place.site.kind)
            if not figures and not belongs(figure, kinds, place.choices.country):
                continue
            metrics = metrics_of(station, figure, unasked=not figures)
            for slot in _slots_now(place, figure, at_us, asked) if metrics else ():
                found += [Row(station, figure, metric, slot) for metric in metrics]
    return found


def metrics_of(station: Station, figure: Figure, *, unasked: bool) -> Sequence[str | None]:
    """For which metrics a box has a figure: None stands for one of all that the method reads."""
    measured = [metric for metric in figure.method.metrics if metric in station.metrics]
    if unasked and not measured:
        return ()
    return (measured or figure.method.metrics) if figure.each else (None,)


def _slots_now(place: Place, figure: Figure, at_us: int, asked: PeriodLength | None) -> Iterable[Slot]:
    if not figure.lengths:
        return _noisy_parts(place)
    length = asked if asked in figure.lengths else figure.lengths[0]
    return (last_over(length, at_us, place.zone, figure.begin(place.choices)),)


def _noisy_parts(place: Place) -> list[Slot]:
    """The days (7 to 22 h) and nights in which the caller says that a noise begins (`noise_missing`)."""
    if not place.choices.noise:
        raise InvalidError(
            "noise-emergence needs to know when the noise is heard: give `noise=<begin>/<end>`.",
            code="noise_missing",
        )
    found: dict[Period, Slot] = {}
    for begin, _ in place.choices.noise:
        day = local_date(begin, place.zone)
        turns = [instant(day, at, place.zone) for at in (DAY_BEGIN, DAY_END)]
        if begin < turns[0]:
            period = Period(instant(day - timedelta(days=1), DAY_END, place.zone), turns[0])
        elif begin < turns[1]:
            period = Period(turns[0], turns[1])
        else:
            period = Period(turns[1], instant(day + timedelta(days=1), DAY_BEGIN, place.zone))
        found.setdefault(period, Slot(period, local_date(period.start_us, place.zone), day))
    return list(found.values())


def check_effort(rows: Iterable[Row]) -> None:
    """Refuse what would read too much (InvalidError `range_too_large`)."""
    totals = dict.fromkeys(BUDGETS, 0)
    for row in rows:
        source, count = row.effort
        totals[source] += count
    if totals["samples"] > MAX_SAMPLES:
        raise too_many_samples(totals["samples"])
    if totals["hours"] > MAX_HOURS:
        raise InvalidError(
            f"About {totals['hours']:,} hourly means would be looked at, of {MAX_HOURS:,} at most. Name "
            "fewer boxes with `box`, or methods with `method`.",
            code="range_too_large",
            extra={"maximum_hours": MAX_HOURS},
        )


async def computed(session: AsyncSession, place: Place, rows: Sequence[Row]) -> list[Found]:
    """Compute rows, in their order: each box's metrics are read once, those of many boxes together."""
    of: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        of[row.station.key].append(row)
    wanted = []
    for each in of.values():
        needs = Needs()
        for row in each:
            needs.add(row.figure, row.metrics, row.slot.period)
        wanted.append(Wanted(each[0].station, needs))
    found: dict[tuple[object, ...], Result] = {}
    async for some in materials(session, wanted):
        # A year of a model that goes hour by hour takes a while: other requests go on meanwhile.
        found |= await asyncio.to_thread(_results, place, of, some)
    return [Found(row, found[_identity(row)]) for row in rows]


def _results(
    place: Place, rows: Mapping[int, Sequence[Row]], some: Materials
) -> dict[tuple[object, ...], Result]:
    return {
        _identity(row): row.figure.compute(
            material, row.metric or row.figure.method.metrics[0], row.slot, place.choices_for(row.slot)
        )
        for key, material in some.items()
        for row in rows[key]
    }


def _identity(row: Row) -> tuple[object, ...]:
    return row.station.key, row.figure.method.name, row.metric, row.slot.period


def worst_of(found: Iterable[Found]) -> list[Found]:
    """Of each method and metric the box with the worst value: the first one of several."""
    worst: dict[tuple[str, str | None], Found] = {}
    for each in found:
        if each.result.value is None:
            continue
        of = (each.row.figure.method.name, each.row.metric)
        if of not in worst or gravity(each.result) > gravity(worst[of].result):
            worst[of] = each
    return list(worst.values())
