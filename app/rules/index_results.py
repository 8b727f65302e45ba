"""What comes out of the indices that rules ask for, of boxes of one site.

Owns how much of it is computed at a time. Everything is read as it is at that moment, as the API does.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.city.reads import MAX_SAMPLES, Station
from app.city.results import Result
from app.city.service import Place, Row, computed
from app.city.spans import Slot
from app.core.errors import InvalidError
from app.core.observability import get_logger
from app.observations.latest_reads import metrics_of_boxes
from app.rules.index_asks import CHOICES, IndexAsk, Locality
from app.rules.view import BoxFacts
from app.sites.models import Site

# Values that one statement or two bring into memory.
_AT_ONCE: Final = {"hours": 100_000, "samples": MAX_SAMPLES}

_log = get_logger(__name__)

type Wanted = Mapping[IndexAsk, Sequence[Slot]]
type Came = dict[tuple[IndexAsk, int], Result | None]
"""By what was asked, and the end of the period (µs). None: it would read too much, and is not known."""


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
    return sum(_row(station, ask, slot).effort[1] for ask, slots in wanted.items() for slot in slots)


async def results_of(session: AsyncSession, place: Locality, station: Station, wanted: Wanted) -> Came:
    """Compute what is wanted of a box."""
    found: Came = {}
    alike: dict[tuple[object, ...], list[IndexAsk]] = defaultdict(list)
    for ask in wanted:
        alike[tuple(getattr(ask, name) for name in CHOICES)].append(ask)
    for asks in alike.values():
        pairs = [(ask, slot) for ask in asks for slot in wanted[ask]]
        # In the order of time: then what is read at a time lies close together.
        pairs.sort(key=lambda pair: pair[1].period.end_us)
        for part in _parts(station, pairs):
            found |= await _computed(session, place, station, part)
    return found


type _Pairs = list[tuple[IndexAsk, Slot]]


def _parts(station: Station, pairs: _Pairs) -> Iterator[_Pairs]:
    part: _Pairs = []
    left = dict(_AT_ONCE)
    for ask, slot in pairs:
        source, count = _row(station, ask, slot).effort
        left[source] -= count
        if part and left[source] < 0:
            yield part
            part, left = [], dict(_AT_ONCE)
            left[source] -= count
        part.append((ask, slot))
    if part:
        yield part


async def _computed(session: AsyncSession, place: Locality, station: Station, pairs: _Pairs) -> Came:
    ask, slot = pairs[0]
    site = Site(timezone=place.timezone, latitude=place.latitude)
    where = Place(site, ask.choices(slot, place), season_said=ask.season is not None)
    try:
        rows = [_row(station, ask, slot) for ask, slot in pairs]
        found = await computed(session, where, rows)
    except InvalidError as error:
        if len(pairs) > 1:
            came: Came = {}
            for pair in pairs:
                came |= await _computed(session, place, station, [pair])
            return came
        _log.warning("index_not_computed", box=station.id, method=ask.method, error=error.detail)
        return {(ask, slot.period.end_us): None}
    return {(ask, slot.period.end_us): each.result for (ask, slot), each in zip(pairs, found, strict=True)}


def _row(station: Station, ask: IndexAsk, slot: Slot) -> Row:
    return Row(station, ask.figure, ask.metric, slot)
