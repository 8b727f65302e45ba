"""Defines the views that conditions read: a box's latest values and history, or a site's boxes. Pure.

A view starts with the state of a box before a batch and advances with each on-time value. Late values never
enter it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.catalogue.metrics import COLUMNS, INDEX
from app.rules.engine.value_windows import BoxEvent, BoxHistory, RuleLookback
from app.timeseries.storage.sample_column_encoding import round_to_float32

_EVERY: Final = tuple(range(len(COLUMNS)))
# Counting all boxes again is cheaper than a longer list.
_MOVED_LIMIT: Final = 100_000
NEVER: Final = -1
"""The time of something that never happened."""

type Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """The registry data of a box that rules use.

    Attributes:
        key: its key in the hypertable.
        id: its id in topics and in the API.
        interval_s: its sampling interval (s).
        kind: its kind, if set.
        tags: its tags.
        attributes: name → number or text, merged over the attributes of the site.
    """

    key: int
    id: str = ""
    interval_s: int = 60
    kind: str | None = None
    tags: frozenset[str] = frozenset()
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompiledScope:
    """Selects boxes of a site: a box must match each list that is given."""

    boxes: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    tags: frozenset[str] | None = None

    def takes(self, box: BoxFacts) -> bool:
        """Return whether the scope includes a box."""
        return (
            (self.boxes is None or box.id in self.boxes)
            and (self.kinds is None or box.kind in self.kinds)
            and (self.tags is None or not self.tags.isdisjoint(box.tags))
        )


def compile_scope(definition: Mapping[str, Sequence[str]] | None) -> CompiledScope | None:
    """Compile a stored scope; None selects every box."""
    if not definition:
        return None
    given = {name: frozenset(definition[name]) for name in ("boxes", "kinds", "tags") if definition.get(name)}
    return CompiledScope(**given) if given else None


class BoxView:
    """The state of a box at one moment of measurement time.

    Attributes:
        facts: the box.
        values: column → (value, time in µs) of the newest on-time value.
        newest_us: the time of the newest on-time value; NEVER without one.
        history: the windows and events that its rules need.
        needs: the look-back of its rules.
        columns: the columns that rules read; other columns do not advance the view.
    """

    __slots__ = ("columns", "events_us", "facts", "history", "needs", "newest_us", "values")

    def __init__(
        self,
        facts: BoxFacts,
        latest: Mapping[str, Sequence[Any]],
        history: BoxHistory,
        needs: RuleLookback,
    ) -> None:
        self.facts = facts
        self.needs = needs
        self.history = history
        self.columns: Sequence[int] = _EVERY
        self.values: dict[int, tuple[float, int]] = {
            INDEX[name]: (value, time_us) for name, (value, time_us) in latest.items()
        }
        self.newest_us = max((time_us for _, time_us in self.values.values()), default=NEVER)
        self.events_us: dict[str, int] = {
            kind: events[-1].time_us for kind, events in history.events.items() if events
        }

    def value(self, column: int) -> tuple[float, int] | None:
        """The newest value of a column, rounded as it is stored, and its time; None without one."""
        known = self.values.get(column)
        return None if known is None else (round_to_float32(column, known[0]), known[1])

    def time(self, column: int | None) -> int:
        """The time of the newest value of a column, or of any column; NEVER without one."""
        if column is None:
            return self.newest_us
        known = self.values.get(column)
        return NEVER if known is None else known[1]

    def fresh(self, time_us: int, values: Sequence[float | None]) -> list[int]:
        """List the columns on which a sample is on time: newer than their newest value."""
        known = self.values
        return [
            column
            for column in self.columns
            if values[column] is not None and ((had := known.get(column)) is None or had[1] < time_us)
        ]

    def take(
        self, time_us: int, values: Sequence[float | None], fresh: Sequence[int] | None = None
    ) -> Sequence[int]:
        """Advance with a sample, and return the columns on which it is on time; none if it is late.

        Args:
            time_us: the measurement time (µs since the epoch).
            values: in the order of COLUMNS.
            fresh: the result of `fresh` for this sample, if the caller has it already.
        """
        if fresh is None:
            fresh = self.fresh(time_us, values)
        history = self.history
        for column in fresh:
            value = values[column]
            if value is None:
                continue
            self.values[column] = (value, time_us)
            if column in history.columns:
                history.add(column, time_us, round_to_float32(column, value))
        if fresh and time_us > self.newest_us:
            self.newest_us = time_us
        return fresh

    def event_on_time(self, kind: str, time_us: int) -> bool:
        """Return whether rules read events of this type, and this one is newer than the previous ones."""
        return kind in self.needs.events and time_us > self.events_us.get(kind, NEVER)

    def take_event(self, kind: str, event: BoxEvent) -> bool:
        """Advance with an event; False if no rule reads its type, or it is late."""
        if not self.event_on_time(kind, event.time_us):
            return False
        self.history.add_event(kind, event, self.needs.events[kind])
        self.events_us[kind] = event.time_us
        return True


class SiteView:
    """The state of all boxes of a site, for rules on the whole site.

    Attributes:
        members: box key → its view.
        moved_keys: the keys of boxes that advanced, in order; counters read it incrementally.
        counters: the box counter of each node, by the id of the node.
    """

    __slots__ = ("_by_id", "counters", "members", "moved_keys")

    def __init__(self, members: Mapping[int, BoxView]) -> None:
        self.members = members
        self.moved_keys: list[int] = []
        self.counters: dict[int, Any] = {}
        self._by_id = {view.facts.id: view for view in members.values()}

    def moved(self, key: int) -> None:
        """Record that a box advanced."""
        if len(self.moved_keys) >= _MOVED_LIMIT:
            self.counters.clear()
            self.moved_keys.clear()
        self.moved_keys.append(key)

    def named(self, box_id: str) -> BoxView | None:
        """Find the view of a box by its id."""
        return self._by_id.get(box_id)
