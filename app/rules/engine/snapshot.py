"""What a condition looks at: a box as its samples left it, or all boxes of a site. Pure.

A view is made from what is known of a box before a batch, and moves forward with each on-time value. Late
values never get into one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.catalogue.metrics import COLUMNS, INDEX
from app.rules.engine.value_windows import BoxEvent, BoxHistory, RuleLookback
from app.timeseries.storage.sample_columns import round_to_float32

_EVERY: Final = tuple(range(len(COLUMNS)))
# After so many it is cheaper to count anew than to remember.
_NEWS: Final = 100_000
NEVER: Final = -1
"""The time of what never was."""

type Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What a rule may ask of a box beside its samples.

    Attributes:
        key: what the hypertable refers to.
        id: its name on every topic.
        interval_s: how often it samples, in seconds.
        kind: what sort of box it is, if anybody said.
        tags: what it is marked with.
        attributes: name → number or text; the site's are already under them.
    """

    key: int
    id: str = ""
    interval_s: int = 60
    kind: str | None = None
    tags: frozenset[str] = frozenset()
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompiledScope:
    """Which boxes of a site are meant: those that fit each of the lists that are given."""

    boxes: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    tags: frozenset[str] | None = None

    def takes(self, box: BoxFacts) -> bool:
        """Tell whether a box is meant."""
        return (
            (self.boxes is None or box.id in self.boxes)
            and (self.kinds is None or box.kind in self.kinds)
            and (self.tags is None or not self.tags.isdisjoint(box.tags))
        )


def compile_scope(definition: Mapping[str, Sequence[str]] | None) -> CompiledScope | None:
    """Compile a stored scope; None means every box."""
    if not definition:
        return None
    given = {name: frozenset(definition[name]) for name in ("boxes", "kinds", "tags") if definition.get(name)}
    return CompiledScope(**given) if given else None


class BoxView:
    """A box at one moment of its measurement time.

    Attributes:
        facts: the box.
        values: column → (value as stored, time in µs) of the newest on-time value.
        newest_us: time of the newest on-time value, NEVER where there was none.
        history: as far back as its rules look.
        needs: how far that is.
        columns: those that anybody looks at; others do not move it.
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
        """The newest value of a column, as stored, and its time; None where there was none."""
        known = self.values.get(column)
        return None if known is None else (round_to_float32(column, known[0]), known[1])

    def time(self, column: int | None) -> int:
        """The time of the newest value of a column, or of any; NEVER where there was none."""
        if column is None:
            return self.newest_us
        known = self.values.get(column)
        return NEVER if known is None else known[1]

    def fresh(self, time_us: int, values: Sequence[float | None]) -> list[int]:
        """Of which columns a sample is on time: newer than what is known of them. None: it is late."""
        known = self.values
        return [
            column
            for column in self.columns
            if values[column] is not None and ((had := known.get(column)) is None or had[1] < time_us)
        ]

    def take(
        self, time_us: int, values: Sequence[float | None], fresh: Sequence[int] | None = None
    ) -> Sequence[int]:
        """Move forward with a sample; returns the columns of which it was on time, none if it was late.

        Args:
            time_us: when it was measured.
            values: in the order of COLUMNS.
            fresh: what the method of that name says of it, where the caller has asked already.
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
        """Tell whether rules look at events of this type, and this one is newer than all of it."""
        return kind in self.needs.events and time_us > self.events_us.get(kind, NEVER)

    def take_event(self, kind: str, event: BoxEvent) -> bool:
        """Move forward with an event; False where no rule looks at its type, or it was late."""
        if not self.event_on_time(kind, event.time_us):
            return False
        self.history.add_event(kind, event, self.needs.events[kind])
        self.events_us[kind] = event.time_us
        return True


class SiteView:
    """All boxes of a site, for the rules on it as a whole.

    Attributes:
        members: box key → its view.
        moved_keys: keys of the boxes that moved forward, in order: for who counts.
        counters: what is counted, by who counts.
    """

    __slots__ = ("_by_id", "counters", "members", "moved_keys")

    def __init__(self, members: Mapping[int, BoxView]) -> None:
        self.members = members
        self.moved_keys: list[int] = []
        self.counters: dict[int, Any] = {}
        self._by_id = {view.facts.id: view for view in members.values()}

    def moved(self, key: int) -> None:
        """Take note that a box moved forward."""
        if len(self.moved_keys) >= _NEWS:
            self.counters.clear()
            self.moved_keys.clear()
        self.moved_keys.append(key)

    def named(self, box_id: str) -> BoxView | None:
        """The box of this id, if it is of the site."""
        return self._by_id.get(box_id)
