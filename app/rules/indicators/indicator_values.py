"""What comes out of the indices that rules ask for, of boxes of one site.

Owns how much of it is computed at a time. Everything is read as it is at that moment, as the API does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import batched, zip_longest
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.indicators.box_queries import IndexedBox
from app.indicators.index_results import IndexResult
from app.indicators.period_selection import DatedPeriod
from app.indicators.service import IndexComputation, SiteContext, compute_index_values
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import Site
from app.rules.engine.snapshot import BoxFacts
from app.rules.indicators.indicator_query import QUERY_CHOICES, IndexQuery, SiteLocality
from app.timeseries.series.latest_queries import find_metrics_of_boxes

# So much is computed at a time: results with all their parts are large.
_ROWS: Final = 10_000

_log = get_logger(__name__)

type RequestedPeriods = Mapping[IndexQuery, Sequence[DatedPeriod]]
type BoxIndexResults = dict[tuple[IndexQuery, int], IndexResult | None]
"""By what was asked, and the end of the period (µs). None: it would read too much, and is not known."""
type _Task = tuple[IndexedBox, IndexQuery, DatedPeriod]


async def load_stations(session: AsyncSession, boxes: Sequence[BoxFacts]) -> dict[int, IndexedBox]:
    """Boxes as their figures need them, with what they ever measured; by their keys."""
    measured = await find_metrics_of_boxes(session, [facts.key for facts in boxes]) if boxes else {}
    return {
        facts.key: IndexedBox(
            facts.key, facts.id, facts.interval_s, facts.kind, measured.get(facts.id, frozenset())
        )
        for facts in boxes
    }


def count_values_read(station: IndexedBox, wanted: RequestedPeriods) -> int:
    """How many values are read for what is wanted of a box."""
    return sum(_row((station, ask, slot)).effort[1] for ask, slots in wanted.items() for slot in slots)


async def compute_results(
    session: AsyncSession, place: SiteLocality, wanted: Sequence[tuple[IndexedBox, RequestedPeriods]]
) -> dict[int, BoxIndexResults]:
    """Compute what is wanted of some boxes of a site, by their keys."""
    found: dict[int, BoxIndexResults] = {station.key: {} for station, _ in wanted}
    alike: dict[tuple[object, ...], list[_Task]] = defaultdict(list)
    for station, asked in wanted:
        for ask, slots in asked.items():
            chosen = tuple(getattr(ask, name) for name in QUERY_CHOICES)
            alike[chosen] += [(station, ask, slot) for slot in slots]
    for tasks in alike.values():
        for part in batched(tasks, _ROWS):
            await _compute(session, place, part, found)
    return found


async def _compute(
    session: AsyncSession, place: SiteLocality, tasks: Sequence[_Task], found: dict[int, BoxIndexResults]
) -> None:
    """Compute what is asked with the same choices; of each alone where it would be too much."""
    _, ask, slot = tasks[0]
    site = Site(timezone=place.timezone, latitude=place.latitude)
    where = SiteContext(site, ask.choices(slot, place), is_season_explicit=ask.season is not None)
    try:
        results = [each.result for each in await compute_index_values(session, where, list(map(_row, tasks)))]
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


def _row(task: _Task) -> IndexComputation:
    station, ask, slot = task
    return IndexComputation(station, ask.figure, ask.metric, slot)
