"""Computes the indices that rules query, for the boxes of one site.

It bounds how much is computed at a time. Values are read as they are stored now, as the API reads them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import batched, zip_longest
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.environmental_indices.boxes_and_read_limits import IndexedBox
from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.period_selection import DatedPeriod
from app.environmental_indices.service import IndexComputation, SiteContext, compute_index_values
from app.platform.kernel.errors import InvalidError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import Site
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.index_rules.index_selection import QUERY_CHOICES, IndexQuery, SiteLocality
from app.timeseries.series.latest_value_queries import find_metrics_of_boxes

ALL_TENANTS: Final = text("SELECT set_config('vigie.reach', 'all', true)")
"""Gives the transaction of a worker the tenant scope of all organisations."""

# Results with all their components are large: computing this many at a time bounds memory.
_BATCH: Final = 10_000

_log = get_logger(__name__)

type RequestedPeriods = Mapping[IndexQuery, Sequence[DatedPeriod]]
type BoxIndexResults = dict[tuple[IndexQuery, int], IndexResult | None]
"""Results by query and end of the period (µs). None: the computation would read too much."""
type _Task = tuple[IndexedBox, IndexQuery, DatedPeriod]


async def load_stations(session: AsyncSession, boxes: Sequence[BoxFacts]) -> dict[int, IndexedBox]:
    """Load the boxes as index computations need them, with the metrics that they ever measured, by key."""
    measured = await find_metrics_of_boxes(session, [facts.key for facts in boxes]) if boxes else {}
    return {
        facts.key: IndexedBox(
            facts.key, facts.id, facts.interval_s, facts.kind, measured.get(facts.id, frozenset())
        )
        for facts in boxes
    }


def count_values_read(station: IndexedBox, requested: RequestedPeriods) -> int:
    """Count the values that the requested periods of a box read."""
    return sum(_row((station, query, slot)).effort[1] for query, slots in requested.items() for slot in slots)


async def compute_results(
    session: AsyncSession, place: SiteLocality, requested: Sequence[tuple[IndexedBox, RequestedPeriods]]
) -> dict[int, BoxIndexResults]:
    """Compute the requested periods of some boxes of a site, by box key."""
    found: dict[int, BoxIndexResults] = {station.key: {} for station, _ in requested}
    alike: dict[tuple[object, ...], list[_Task]] = defaultdict(list)
    for station, periods in requested:
        for query, slots in periods.items():
            chosen = tuple(getattr(query, name) for name in QUERY_CHOICES)
            alike[chosen] += [(station, query, slot) for slot in slots]
    for tasks in alike.values():
        for part in batched(tasks, _BATCH):
            await _compute(session, place, part, found)
    return found


async def _compute(
    session: AsyncSession, place: SiteLocality, tasks: Sequence[_Task], found: dict[int, BoxIndexResults]
) -> None:
    """Compute tasks with equal options; one by one if together they would read too much."""
    _, query, slot = tasks[0]
    site = Site(timezone=place.timezone, latitude=place.latitude)
    where = SiteContext(site, query.choices(slot, place), is_season_explicit=query.season is not None)
    try:
        results = [each.result for each in await compute_index_values(session, where, list(map(_row, tasks)))]
    except InvalidError as error:
        if len(tasks) > 1:
            for task in tasks:
                await _compute(session, place, [task], found)
            return
        _log.warning("index_not_computed", box=tasks[0][0].id, method=query.method, error=error.detail)
        results = []
    for (station, query, slot), result in zip_longest(tasks, results):
        # Rules use the value only: dropping components and notes saves memory.
        slim = None if result is None else replace(result, components=(), notes=())
        found[station.key][query, slot.period.end_us] = slim


def _row(task: _Task) -> IndexComputation:
    station, query, slot = task
    return IndexComputation(station, query.figure, query.metric, slot)
