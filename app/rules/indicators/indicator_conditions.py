"""The leaf of a condition that looks at a city's index, and the view of a box that it looks at. Pure.

A period that is over has a value or none: where it has none, nothing is known. So there is no age: the newest
period that is over at a time is what counts then.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from app.indicators.index_definitions import BANDS_BY_METHOD
from app.indicators.index_results import IndexBand, IndexResult
from app.platform.kernel.instants import format_us
from app.rules.engine.compiled_conditions import CompiledLeaf, ConditionCause
from app.rules.engine.snapshot import BoxFacts
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict, ValueLimit
from app.rules.indicators.indicator_query import IndexQuery

type ComputedIndices = Mapping[tuple[IndexQuery, int], IndexResult | None]
"""What came out, by what was asked and the end of the period (µs); None: it would read too much."""

_end_of = itemgetter(0)


@dataclass(slots=True, eq=False)
class IndexView:
    """A box as its indices show it.

    Attributes:
        facts: the box.
        results: of each query (end of the period in µs, what came out), ascending.
    """

    facts: BoxFacts
    results: dict[IndexQuery, list[tuple[int, IndexResult | None]]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: BoxFacts, queries: Iterable[IndexQuery], computed: ComputedIndices) -> "IndexView":
        """A view of what was computed of a box."""
        requested = frozenset(queries)
        view = cls(facts, {query: [] for query in requested})
        for (query, end_us), result in computed.items():
            if query in requested:
                insort(view.results[query], (end_us, result), key=_end_of)
        return view

    def newest(self, query: IndexQuery, at_us: int) -> IndexResult | None:
        """What came out of the newest period that is over at a time; a period ends as its last µs does."""
        found = self.results.get(query, [])
        place = bisect_right(found, at_us + 1, key=_end_of)
        return found[place - 1][1] if place else None


@dataclass(frozen=True, slots=True)
class IndexLeaf(CompiledLeaf):
    """An index, against a limit: its value or, with `least`, the number of its class from 1 (the best)."""

    path: str
    query: IndexQuery
    limit: ValueLimit
    least: str | None = None

    def evaluate(self, view: IndexView, at_us: int) -> ConditionVerdict:
        """Of the newest period that is over."""
        result = view.newest(self.query, at_us)
        if result is None or result.value is None:
            return UNKNOWN_VERDICT
        if self.least is None:
            return self.limit.evaluate(result.value)
        return (
            UNKNOWN_VERDICT
            if result.band is None
            else self.limit.evaluate(rank_band(self.query.method, result.band.key))
        )

    def cause(self, view: IndexView, at_us: int) -> ConditionCause:
        """The index, with its method and the period."""
        result = view.newest(self.query, at_us)
        by_value = self.least is None
        return ConditionCause(
            None,
            None if result is None else result.value,
            self.limit.threshold if by_value else None,
            self.limit.clear if by_value else None,
            None,
            None,
            self.path,
            None,
            (),
            self._describe(result),
        )

    def _describe(self, result: IndexResult | None) -> dict[str, Any]:
        method = self.query.figure.method
        limit = next((band for band in BANDS_BY_METHOD.get(method.name, ()) if band.key == self.least), None)
        return {
            "method": method.name,
            "version": method.version,
            "title": method.title.en,
            "title_fr": method.title.fr,
            "metric": self.query.metric,
            "period": None
            if result is None
            else {"start": format_us(result.start_us), "end": format_us(result.end_us)},
            "unit": method.unit if result is None else result.unit,
            "coverage": None if result is None else result.coverage,
            "band": None if result is None else _named(result.band),
            "limit_band": _named(limit),
        }


def rank_band(method: str, band: str) -> float:
    """The number of a method's class, from 1 (KeyError for one that it does not have)."""
    for place, each in enumerate(BANDS_BY_METHOD[method], 1):
        if each.key == band:
            return float(place)
    raise KeyError(band)


def _named(band: IndexBand | None) -> dict[str, str] | None:
    return None if band is None else {"key": band.key, "label": band.label.en, "label_fr": band.label.fr}
