"""What of samples is too old, in SQL: the same words count it beforehand and remove it.

A row has values of several purposes. Those whose purpose's limit lies after the row's time go; with its last
value the row itself. Limits are an array, in the order of the purposes that have metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from app.catalogue.purposes import SAMPLE_PURPOSES


def _values(place: int) -> str:
    return f"num_nonnulls({', '.join(f's."{name}"' for name in SAMPLE_PURPOSES[place].metrics)})"


def _before(place: int, limits: str) -> str:
    return f"s.time < ({limits})[{place + 1}]"


_PLACES: Final = range(len(SAMPLE_PURPOSES))


def expired_row_sql(limits: str) -> str:
    """SQL: whether nothing is left of the row `s`. `limits` is the SQL of a timestamptz[]."""
    return " AND ".join(f"({_before(place, limits)} OR {_values(place)} = 0)" for place in _PLACES)


def expired_counts_sql(limits: str) -> str:
    """SQL: a select list over rows `s`, for `ExpiredCounts.of`."""
    parts = ["count(*) AS rows", f"count(*) FILTER (WHERE {expired_row_sql(limits)}) AS samples"]
    for place in _PLACES:
        old = f"FILTER (WHERE {_before(place, limits)} AND {_values(place)} > 0)"
        parts += [
            f"coalesce(sum({_values(place)}) {old}, 0)::bigint AS values_{place}",
            f"min(s.time) {old} AS first_{place}",
            f"max(s.time) {old} AS last_{place}",
        ]
    return ", ".join(parts)


@dataclass(slots=True)
class PurposeExtent:
    """Values of one purpose: how many, and the times of the first and the last sample that have some."""

    values: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, other: "PurposeExtent") -> None:
        """Take others in."""
        self.values += other.values
        if other.first is not None and other.last is not None:
            self.first = other.first if self.first is None else min(self.first, other.first)
            self.last = other.last if self.last is None else max(self.last, other.last)


@dataclass(slots=True)
class ExpiredCounts:
    """What of some samples is too old.

    Attributes:
        rows: how many samples were looked at.
        samples: of how many nothing is left.
        purposes: by name, what goes of each purpose's values, those of such samples among them.
    """

    rows: int = 0
    samples: int = 0
    purposes: dict[str, PurposeExtent] = field(
        default_factory=lambda: {purpose.name: PurposeExtent() for purpose in SAMPLE_PURPOSES}
    )

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "ExpiredCounts":
        """What `expired_counts_sql` gave."""
        found: dict[str, PurposeExtent] = {
            purpose.name: PurposeExtent(row[f"values_{place}"], row[f"first_{place}"], row[f"last_{place}"])
            for place, purpose in enumerate(SAMPLE_PURPOSES)
        }
        return cls(row["rows"], row["samples"], found)

    @property
    def values(self) -> int:
        """How many values go."""
        return sum(extent.values for extent in self.purposes.values())

    def add(self, other: "ExpiredCounts") -> None:
        """Take others in."""
        self.rows += other.rows
        self.samples += other.samples
        for name, extent in other.purposes.items():
            self.purposes[name].add(extent)
