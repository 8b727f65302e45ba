"""Figures of a site's boxes: those of now, and the history of one.

Owns which figures a box has, which periods they are of, and how much is read for them. Nothing is stored:
they are computed of what is there when they are asked for.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.city.emergence import DAY_BEGIN, DAY_END
from app.city.figures import FIGURES, LENGTHS, Choices, Figure, Material, Source, gravity
from app.city.periods import Period, instant, local_date
from app.city.places import belongs, season_of
from app.city.reads import (
    MAX_HOURS,
    MAX_SAMPLES,
    Needs,
    Station,
    effort,
    material_of,
    too_many_samples,
)
from app.city.results import Result
from app.city.spans import SHORTEST_US, PeriodLength, Slot, last_over, slots
from app.core.errors import InvalidError
from app.core.instants import from_datetime
from app.core.pagination import decode_cursor, encode_cursor
from app.core.reasons import shown
from app.sites.models import Site

MAX_ROWS: Final = 10_000
"""So many periods, each of each box, a history may have."""
_HISTORY: Final = "indices"
_BUDGETS: Final[dict[Source, int]] = {"hours": MAX_HOURS, "samples": MAX_SAMPLES}


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


def length_of(figure: Figure, asked: PeriodLength | None) -> PeriodLength:
    """Of which periods a figure is (InvalidError `invalid_period`, `method_without_periods`)."""
    name = figure.method.name
    if not figure.lengths:
        raise InvalidError(
            f"{name} has no periods: ask for it at GET /v1/sites/{{site_id}}/indices, with `noise`.",
            code="method_without_periods",
        )
    if asked is not None and asked not in figure.lengths:
        raise InvalidError(
            f"{name} is of a period of: {', '.join(figure.lengths)}.",
            code="invalid_period",
            extra={"periods": list(figure.lengths)},
        )
    return asked or figure.lengths[0]


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
            metrics = _metrics(station, figure, unasked=not figures)
            for slot in _slots_now(place, figure, at_us, asked) if metrics else ():
                found += [Row(station, figure, metric, slot) for metric in metrics]
    return found


def _metrics(station: Station, figure: Figure, *, unasked: bool) -> Sequence[str | None]:
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
    totals = dict.fromkeys(_BUDGETS, 0)
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
    """Compute rows, in their order: each box's metrics are read once."""
    of: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        of[row.station.key].append(row)
    found: dict[tuple[object, ...], Result] = {}
    for each in of.values():
        needs = Needs()
        for row in each:
            needs.add(row.figure, row.metrics, row.slot.period)
        material = await material_of(session, each[0].station, place.site.timezone, needs)
        # A year of a model that goes hour by hour takes a while: other requests go on meanwhile.
        found |= await asyncio.to_thread(_results, place, each, material)
    return [Found(row, found[_identity(row)]) for row in rows]


def _results(place: Place, rows: Iterable[Row], material: Material) -> dict[tuple[object, ...], Result]:
    return {
        _identity(row): row.figure.compute(
            material, row.metric or row.figure.method.metrics[0], row.slot, place.choices_for(row.slot)
        )
        for row in rows
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


class History(NamedTuple):
    """A page of a history.

    Attributes:
        rows: what is to be computed.
        following: the next page's cursor; None on the last one.
    """

    rows: list[Row]
    following: str | None


def history(
    place: Place,
    stations: Sequence[Station],
    figure: Figure,
    *,
    length: PeriodLength,
    span: tuple[datetime, datetime],
    now: datetime,
    limit: int,
    cursor: str | None,
) -> History:
    """A page of what is to be computed of a method, period by period, box by box.

    A page ends early where much would have to be read for it.

    Raises:
        InvalidError: `range_too_large`, `invalid_cursor`.
    """
    first, last = from_datetime(span[0]), min(from_datetime(span[1]), from_datetime(now))
    metrics = {station.id: _metrics(station, figure, unasked=False) for station in stations}
    each = sum(len(of) for of in metrics.values())
    _check_rows((last - first) / SHORTEST_US[length], each, length, figure)
    after = None if cursor is None else tuple(decode_cursor(_HISTORY, cursor, int, str, str))
    left = dict(_BUDGETS)
    page: list[Row] = []
    for slot in slots(length, Period(first, last), place.zone, figure.begin(place.choices)):
        if slot.period.end_us > from_datetime(now):
            break
        for station in stations:
            for metric in sorted(metrics[station.id], key=lambda name: name or ""):
                row = Row(station, figure, metric, slot)
                if after is not None and row.key <= after:
                    continue
                source, count = row.effort
                left[source] -= count
                if len(page) == limit or (page and left[source] < 0):
                    check_effort(page)
                    return History(page, encode_cursor(_HISTORY, *page[-1].key))
                page.append(row)
    check_effort(page)
    return History(page, None)


def _check_rows(periods: float, each: int, length: PeriodLength, figure: Figure) -> None:
    if max(1.0, periods) * each <= MAX_ROWS:
        return
    longer = [name for name in figure.lengths if LENGTHS.index(name) > LENGTHS.index(length)]
    hint = f" a longer `period` ({', '.join(longer)})," if longer else ""
    raise InvalidError(
        f"These would be more than {MAX_ROWS:,} results. Ask for{hint} a shorter range, or fewer boxes with "
        "`box`.",
        code="range_too_large",
        extra={"maximum_results": MAX_ROWS},
    )
