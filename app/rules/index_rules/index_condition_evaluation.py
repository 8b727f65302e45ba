"""Evaluates the conditions of rules on environmental indices, given the computed results. Pure.

The newest period that is over at a time counts; it has no maximum age. A period without a value is unknown.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from app.environmental_indices.index_definitions import BANDS_BY_METHOD
from app.environmental_indices.index_results import IndexBand, IndexResult
from app.platform.kernel.instants import format_us
from app.rules.engine.box_and_site_views import BoxFacts
from app.rules.engine.condition_leaf_evaluation import CompiledLeaf, ConditionCause
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict, ValueLimit
from app.rules.index_rules.index_selection import IndexQuery

type ComputedIndices = Mapping[tuple[IndexQuery, int], IndexResult | None]
"""Results by query and end of the period (µs). None: the computation would read too much."""

_end_of = itemgetter(0)


@dataclass(slots=True, eq=False)
class IndexView:
    """The computed indices of a box.

    Attributes:
        facts: the box.
        results: for each query, (end of the period in µs, result), ascending.
    """

    facts: BoxFacts
    results: dict[IndexQuery, list[tuple[int, IndexResult | None]]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: BoxFacts, queries: Iterable[IndexQuery], computed: ComputedIndices) -> "IndexView":
        """Make the view of a box from the results of some queries."""
        requested = frozenset(queries)
        view = cls(facts, {query: [] for query in requested})
        for (query, end_us), result in computed.items():
            if query in requested:
                insort(view.results[query], (end_us, result), key=_end_of)
        return view

    def newest(self, query: IndexQuery, at_us: int) -> IndexResult | None:
        """Find the result of the newest period that is over at a time, that is after its last µs."""
        found = self.results.get(query, [])
        index = bisect_right(found, at_us + 1, key=_end_of)
        return found[index - 1][1] if index else None


@dataclass(frozen=True, slots=True)
class IndexLeaf(CompiledLeaf):
    """Compares an index with a limit: its value or, with `least`, its class number from 1 (the best)."""

    path: str
    query: IndexQuery
    limit: ValueLimit
    least: str | None = None

    def evaluate(self, view: IndexView, at_us: int) -> ConditionVerdict:
        """Evaluate the newest complete period."""
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
        """The index with its method and period."""
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
            "band": None if result is None else _render_band(result.band),
            "limit_band": _render_band(limit),
        }


def rank_band(method: str, band: str) -> float:
    """Return the number of a class of a method, from 1 for the best (KeyError for an unknown class)."""
    for rank, each in enumerate(BANDS_BY_METHOD[method], 1):
        if each.key == band:
            return float(rank)
    raise KeyError(band)


def _render_band(band: IndexBand | None) -> dict[str, str] | None:
    return None if band is None else {"key": band.key, "label": band.label.en, "label_fr": band.label.fr}
