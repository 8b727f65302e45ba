"""What comes out of the indices that rules ask for, of boxes of one site.

Owns how much of it is computed at a time. Everything is read as it is at that moment, as the API does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import batched, zip_longest
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.indicators.box_queries import Station
from app.indicators.index_results import Result
from app.indicators.period_selection import Slot
from app.indicators.service import Place, Row, computed
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import Site
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_query import CHOICES, IndexAsk, Locality
from app.timeseries.series.latest_queries import metrics_of_boxes

# So much is computed at a time: results with all their parts are large.
_ROWS: Final = 10_000

_log = get_logger(__name__)

type Wanted = Mapping[IndexAsk, Sequence[Slot]]
type Came = dict[tuple[IndexAsk, int], Result | None]
"""By what was asked, and the end of the period (µs). None: it would read too much, and is not known."""
type _Task = tuple[Station, IndexAsk, Slot]


async def stations_for(session: AsyncSession, boxes: Sequence[BoxFacts]) -> dict[int, Station]:
    """Boxes as their figures need them, with what they ever measured; by their keys."""
    measured = await metrics_of_boxes(session, [facts.key for facts in boxes]) if boxes else {}
    return {
        facts.key: Station(
            facts.key, facts.id, facts.interval_s, facts.kind, measured.get(facts.id, frozenset())
        )
        for facts in boxes
    }


def effort_of(station: Station, wanted: Wanted) -> int:
    """How many values are read for what is wanted of a box."""
    return sum(_row((station, ask, slot)).effort[1] for ask, slots in wanted.items() for slot in slots)


async def results_of(
    session: AsyncSession, place: Locality, wanted: Sequence[tuple[Station, Wanted]]
) -> dict[int, Came]:
    """Compute what is wanted of some boxes of a site, by their keys."""
    found: dict[int, Came] = {station.key: {} for station, _ in wanted}
    alike: dict[tuple[object, ...], list[_Task]] = defaultdict(list)
    for station, asked in wanted:
        for ask, slots in asked.items():
            chosen = tuple(getattr(ask, name) for name in CHOICES)
            alike[chosen] += [(station, ask, slot) for slot in slots]
    for tasks in alike.values():
        for part in batched(tasks, _ROWS):
            await _compute(session, place, part, found)
    return found


async def _compute(
    session: AsyncSession, place: Locality, tasks: Sequence[_Task], found: dict[int, Came]
) -> None:
    """Compute what is asked with the same choices; of each alone where it would be too much."""
    _, ask, slot = tasks[0]
    site = Site(timezone=place.timezone, latitude=place.latitude)
    where = Place(site, ask.choices(slot, place), season_said=ask.season is not None)
    try:
        results = [each.result for each in await computed(session, where, list(map(_row, tasks)))]
    except InvalidError as error:
        if len(tasks) > 1:
            for task in tasks:
                await _compute(session, place, [task], found)
            return
        _log.warning("index_not_computed", box=tasks[0][0].id, method=ask.method, error=error.detail)
        results = []
    for (station, asked, period), result in zip_longest(tasks, results):
        # A rule looks at the whole alone.
        slim = None if result is None else replace(result, components=(), notes=())
        found[station.key][asked, period.period.end_us] = slim


def _row(task: _Task) -> Row:
    station, ask, slot = task
    return Row(station, ask.figure, ask.metric, slot)
