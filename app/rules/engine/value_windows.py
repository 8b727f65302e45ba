"""Keeps sliding windows of recent values and events of a box, and aggregates them. Pure.

An aggregate depends only on the values in the window, not on how they got there: sums are integers, from
which a value that leaves is subtracted exactly. So a history that is loaded from the database gives the same
results as one that grew live.
"""

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from app.platform.kernel.instants import HOUR_US

WINDOW_FUNCTIONS: Final = (
    "mean",
    "min",
    "max",
    "sum",
    "percentile",
    "energy_mean",
    "rate",
    "spread",
    "count",
)
_STEPS: Final = 1_000_000
_ENERGY_STEPS: Final = 1_000_000_000
# A window is complete once its values span three quarters of it.
_SPAN: Final = 0.75
_COMPACT: Final = 64


class WindowSpec(NamedTuple):
    """The specification of a window: its column and its length (µs).

    `owner`: the rule that has the window for itself, because its clock also follows other columns. A shared
    window would move between clocks with every sample. Empty: the window is shared.
    """

    column: int
    window_us: int
    owner: str = ""


class ValueWindow:
    """A sliding window over the values of one metric of one box, in time order."""

    __slots__ = ("_begin", "_energy", "_high", "_low", "_sorted", "_sum", "_times", "_values", "window_us")

    def __init__(self, window_us: int) -> None:
        self.window_us = window_us
        self._times = array("q")
        self._values = array("d")
        self._begin = 0
        self._sum = 0
        self._energy: int | None = None
        self._sorted: list[float] | None = None
        self._low: deque[tuple[float, int]] | None = None
        self._high: deque[tuple[float, int]] | None = None

    def __len__(self) -> int:
        """The number of values in the window."""
        return len(self._times) - self._begin

    @property
    def oldest_us(self) -> int | None:
        """The time of the oldest value in the window; None if it is empty."""
        return self._times[self._begin] if len(self) else None

    def add(self, time_us: int, value: float) -> None:
        """Add a value that is newer than all earlier ones."""
        self._times.append(time_us)
        self._values.append(value)
        self._sum += round(value * _STEPS)
        if self._energy is not None:
            self._energy += _energy(value)
        if self._sorted is not None:
            insort(self._sorted, value)
        if self._low is not None and self._high is not None:
            _push(self._low, value, time_us)
            _push(self._high, -value, time_us)

    def move(self, at_us: int) -> None:
        """Move the window to a time that is not before its newest value.

        Values that are `window_us` old or older leave it. Rules that share a window have different clocks, so
        the time may also go back. Values are therefore freed only when they are too old for the newest value.
        """
        edge = at_us - self.window_us
        times, begin = self._times, self._begin
        while begin < len(times) and times[begin] <= edge:
            self._subtract(self._values[begin])
            begin += 1
        for extremes in (self._low, self._high):
            while extremes and extremes[0][1] <= edge:
                extremes.popleft()
        while begin and times[begin - 1] > edge:
            begin -= 1
            self._restore(times[begin], self._values[begin])
        if begin > _COMPACT and 2 * begin > len(times) and times[begin - 1] <= times[-1] - self.window_us:
            del times[:begin], self._values[:begin]
            begin = 0
        self._begin = begin

    def _subtract(self, value: float) -> None:
        self._sum -= round(value * _STEPS)
        if self._energy is not None:
            self._energy -= _energy(value)
        if self._sorted is not None:
            del self._sorted[bisect_left(self._sorted, value)]

    def _restore(self, time_us: int, value: float) -> None:
        """Add the value again that precedes those in the window."""
        self._sum += round(value * _STEPS)
        if self._energy is not None:
            self._energy += _energy(value)
        if self._sorted is not None:
            insort(self._sorted, value)
        for extremes, low in ((self._low, value), (self._high, -value)):
            if extremes is not None and (not extremes or low < extremes[0][0]):
                extremes.appendleft((low, time_us))

    def spans(self) -> bool:
        """Return whether the values span enough of the window to represent it."""
        if not len(self):
            return False
        return self._times[-1] - self._times[self._begin] >= self.window_us * _SPAN - self._step()

    def _step(self) -> float:
        """The mean interval of the values: n values span n - 1 intervals."""
        count = len(self)
        return (self._times[-1] - self._times[self._begin]) / (count - 1) if count > 1 else 0.0

    def covers(self, percent: float, interval_us: int) -> bool:
        """Return whether at least this percentage of the values that were due is in the window."""
        return 100 * len(self) * interval_us >= percent * self.window_us

    def aggregate(self, function: str, percentile: float | None = None) -> float | None:
        """Aggregate the values in the window; None if they do not define the aggregate.

        Args:
            function: one of WINDOW_FUNCTIONS. `energy_mean` is 10·log10 of the mean of 10^(L/10); `rate` is
                newest minus oldest, per hour; `percentile` takes the nearest rank; `spread` is max minus min.
            percentile: above 0, below 100; for `percentile` only.
        """
        count = len(self)
        if function == "count":
            return float(count)
        if not count:
            return None
        if function == "percentile":
            return self._percentile(50.0 if percentile is None else percentile)
        found: float | None = _AGGREGATES[function](self)
        return found

    def _mean(self) -> float:
        return self._sum / (_STEPS * len(self))

    def _total(self) -> float:
        return self._sum / _STEPS

    def _energy_mean(self) -> float:
        if self._energy is None:
            self._energy = sum(map(_energy, self._values[self._begin :]))
        # Rounded, so that the mean of a constant level is exactly that level.
        return round(10 * math.log10(self._energy / (_ENERGY_STEPS * len(self))), 6)

    def _extremes(self) -> tuple[float, float]:
        if self._low is None or self._high is None:
            self._low, self._high = deque(), deque()
            for time_us, value in zip(self._times[self._begin :], self._values[self._begin :], strict=True):
                _push(self._low, value, time_us)
                _push(self._high, -value, time_us)
        return self._low[0][0], -self._high[0][0]

    def _minimum(self) -> float:
        return self._extremes()[0]

    def _maximum(self) -> float:
        return self._extremes()[1]

    def _spread(self) -> float:
        low, high = self._extremes()
        return high - low

    def _percentile(self, percentile: float) -> float:
        if self._sorted is None:
            self._sorted = sorted(self._values[self._begin :])
        # Rounded: 7 % of 100 values is rank 7; 7.000000000000001 would become 8.
        rank = math.ceil(round(percentile * len(self._sorted) / 100, 9))
        return self._sorted[max(rank, 1) - 1]

    def _rate(self) -> float | None:
        first, last = self._begin, len(self._times) - 1
        elapsed = self._times[last] - self._times[first]
        return (self._values[last] - self._values[first]) * HOUR_US / elapsed if elapsed else None


_AGGREGATES: Final[Mapping[str, Any]] = {
    "mean": ValueWindow._mean,  # noqa: SLF001 (of the class above)
    "sum": ValueWindow._total,  # noqa: SLF001
    "energy_mean": ValueWindow._energy_mean,  # noqa: SLF001
    "min": ValueWindow._minimum,  # noqa: SLF001
    "max": ValueWindow._maximum,  # noqa: SLF001
    "spread": ValueWindow._spread,  # noqa: SLF001
    "rate": ValueWindow._rate,  # noqa: SLF001
}


def _energy(level: float) -> int:
    return round(10 ** (level / 10) * _ENERGY_STEPS)


def _push(extremes: deque[tuple[float, int]], value: float, time_us: int) -> None:
    """Append to a monotonic queue, which stores only values that may still become the minimum."""
    while extremes and extremes[-1][0] >= value:
        extremes.pop()
    extremes.append((value, time_us))


class BoxEvent(NamedTuple):
    """An event as rules read it: its time and its candidates with their confidence."""

    time_us: int
    candidates: Sequence[Mapping[str, Any]]


class EventMatcher(NamedTuple):
    """Matches events of a type with a candidate of a class, model and minimum confidence."""

    kind: str
    confidence: float = 0.0
    class_: str | None = None
    model: str | None = None

    def best(self, event: BoxEvent) -> Mapping[str, Any] | None:
        """The best matching candidate; {} for an event without candidates if the matcher requires none."""
        is_selective = self.class_ is not None or self.model is not None or self.confidence > 0
        if not event.candidates and not is_selective:
            return {}
        fitting = [
            candidate
            for candidate in event.candidates
            if (candidate.get("confidence") or 0.0) >= self.confidence
            and (self.class_ is None or candidate.get("class") == self.class_)
            and (self.model is None or candidate.get("model") == self.model)
        ]
        return max(fitting, key=lambda candidate: candidate.get("confidence") or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class RuleLookback:
    """The history that the rules of a box need.

    Attributes:
        spans: the windows.
        events: event type → how long its events are retained (µs).
    """

    spans: frozenset[WindowSpec] = frozenset()
    events: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.spans or self.events)


class BoxHistory:
    """The recent values and events of a box, as far back as its rules need them.

    Attributes:
        windows: by specification.
        events: by type, in time order.
        columns: the columns with a window.
    """

    __slots__ = ("_by_column", "_fitting", "columns", "events", "windows")

    def __init__(self, needs: RuleLookback) -> None:
        self.windows = {span: ValueWindow(span.window_us) for span in sorted(needs.spans)}
        self.events: dict[str, list[BoxEvent]] = {kind: [] for kind in needs.events}
        self._fitting: dict[EventMatcher, list[BoxEvent]] = {}
        self._by_column: dict[int, list[ValueWindow]] = {}
        for span, window in self.windows.items():
            self._by_column.setdefault(span.column, []).append(window)
        self.columns = frozenset(self._by_column)

    def __len__(self) -> int:
        """The number of retained values and events."""
        return sum(map(len, self.windows.values())) + sum(map(len, self.events.values()))

    def add(self, column: int, time_us: int, value: float) -> None:
        """Add an on-time value, and remove values that are too old."""
        for window in self._by_column.get(column, ()):
            window.add(time_us, value)
            window.move(time_us)

    def add_event(self, kind: str, event: BoxEvent, keep_us: int) -> None:
        """Add an event that is newer than all of its type, and remove events that are too old."""
        events = self.events[kind]
        events.append(event)
        del events[: bisect_right(events, event.time_us - keep_us, key=_time_of)]
        for matcher, fitting in self._fitting.items():
            if matcher.kind == kind:
                if matcher.best(event) is not None:
                    fitting.append(event)
                del fitting[: bisect_right(fitting, event.time_us - keep_us, key=_time_of)]

    def fitting(self, matcher: EventMatcher, after_us: int, until_us: int) -> Sequence[BoxEvent]:
        """Find the matching events after one instant and at or before another one.

        The result of the match is cached per event: with many events in a long window the match is expensive.
        """
        known = self._fitting.get(matcher)
        if known is None:
            known = [event for event in self.events[matcher.kind] if matcher.best(event) is not None]
            self._fitting[matcher] = known
        return known[
            bisect_right(known, after_us, key=_time_of) : bisect_right(known, until_us, key=_time_of)
        ]

    def next_event_us(self, kind: str, after_us: int) -> int | None:
        """Find the time of the first event of a type after an instant."""
        events = self.events[kind]
        index = bisect_right(events, after_us, key=_time_of)
        return events[index].time_us if index < len(events) else None


def _time_of(event: BoxEvent) -> int:
    return event.time_us
