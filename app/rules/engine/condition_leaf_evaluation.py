"""Evaluates single conditions (value, window, silence, event): true, false or unknown. Pure.

There are three answers: true, false and unknown. An unknown answer neither fires nor resolves anything.
`condition_combinations` combines leaves. A leaf reads only the view and the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from app.catalogue.metrics import COLUMNS
from app.rules.engine.box_and_site_views import NEVER, BoxView
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict, ValueLimit
from app.rules.engine.value_windows import BoxEvent, EventMatcher, RuleLookback, WindowSpec

type ConditionView = Any
"""A BoxView, or a SiteView for a rule on a whole site. The compiler guarantees the right one."""


class ConditionCause(NamedTuple):
    """The part of a condition that decided.

    Attributes:
        metric: the metric, if it has one.
        value: the value of the metric or its aggregate; for an event its confidence.
        threshold, clear: the numbers that the value was compared with.
        function: the aggregate function, such as `mean`; None for a plain value.
        window_us: the length of the window (µs).
        path: its path in the rule, such as `levels/0/condition/all/1`.
        event: the `type`, `time_us`, `confidence`, `class` and `model` of the event.
        boxes: the keys of the boxes that raise it, for a rule on a whole site.
        figure: for an index: `method` with `version`, titles, `period`, `unit`, `coverage` and class.
    """

    metric: str | None
    value: float | None
    threshold: float | None
    clear: float | None
    function: str | None
    window_us: int | None
    path: str
    event: dict[str, Any] | None
    boxes: tuple[int, ...]
    figure: dict[str, Any] | None = None


class CompiledNode(Protocol):
    """A part of a condition."""

    @property
    def path(self) -> str:
        """Its path in the rule."""

    def evaluate(self, view: ConditionView, at_us: int) -> ConditionVerdict:
        """Evaluate whether it raises at a time, and whether it still holds."""

    def due(self, view: ConditionView, after_us: int) -> int | None:
        """Find the first time after `after_us` at which the answer may change without a sample."""

    def until(self, view: ConditionView, at_us: int) -> int | None:
        """Find until when the answer at a time stays valid without a sample; None: for ever."""

    def cause(self, view: ConditionView, at_us: int) -> ConditionCause:
        """Describe the cause for people."""

    def parts(self) -> Iterator["CompiledNode"]:
        """Yield itself and all of its parts."""

    def needs(self) -> RuleLookback:
        """The look-back of this part alone."""


class CompiledLeaf:
    """The common base of all leaves."""

    __slots__ = ()

    def parts(self) -> Iterator[Any]:
        """Yield itself."""
        yield self

    def due(self, view: ConditionView, after_us: int) -> int | None:  # noqa: ARG002 (the protocol's)
        """Only samples and events change it."""
        return None

    def until(self, view: ConditionView, at_us: int) -> int | None:
        """It stays valid until it is due."""
        due = self.due(view, at_us)
        return None if due is None else due - 1

    def needs(self) -> RuleLookback:
        """It needs no look-back."""
        return RuleLookback()


@dataclass(frozen=True, slots=True)
class ValueLeaf(CompiledLeaf):
    """Compares the newest value of a metric with a limit. Older than `max_age_us`, it is unknown."""

    path: str
    column: int
    limit: ValueLimit
    max_age_us: int

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Evaluate the newest value."""
        known = view.value(self.column)
        if known is None or at_us - known[1] > self.max_age_us:
            return UNKNOWN_VERDICT
        return self.limit.evaluate(known[0])

    def until(self, view: BoxView, at_us: int) -> int | None:
        """It stays valid until the value is too old."""
        time_us = view.time(self.column)
        return None if time_us == NEVER or at_us - time_us > self.max_age_us else time_us + self.max_age_us

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:  # noqa: ARG002 (the protocol's)
        """The newest value."""
        known = view.value(self.column)
        return ConditionCause(
            COLUMNS[self.column],
            None if known is None else known[0],
            self.limit.threshold,
            self.limit.clear,
            None,
            None,
            self.path,
            None,
            (),
        )


@dataclass(frozen=True, slots=True)
class WindowLeaf(CompiledLeaf):
    """Compares an aggregate of a metric over a window with a limit.

    It is unknown until the values span three quarters of the window and reach the `coverage` in percent.
    `certain` functions are exempt if they raise: more values cannot reverse an extreme.
    """

    path: str
    span: WindowSpec
    function: str
    limit: ValueLimit
    percentile: float | None = None
    coverage: float | None = None
    certain: bool = False

    def _value(self, view: BoxView, at_us: int) -> tuple[float | None, bool]:
        window = view.history.windows[self.span]
        window.move(at_us)
        is_complete = window.spans() and (
            self.coverage is None or window.covers(self.coverage, view.facts.interval_s * 1_000_000)
        )
        return window.aggregate(self.function, self.percentile), is_complete

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Evaluate the aggregate of the window."""
        value, is_complete = self._value(view, at_us)
        if value is None:
            return UNKNOWN_VERDICT
        verdict = self.limit.evaluate(value)
        if is_complete or (self.certain and verdict[0]):
            return verdict
        return UNKNOWN_VERDICT

    def until(self, view: BoxView, at_us: int) -> int | None:  # noqa: ARG002 (the protocol's)
        """It stays valid until a value leaves the window."""
        oldest = view.history.windows[self.span].oldest_us
        return None if oldest is None else oldest + self.span.window_us - 1

    def needs(self) -> RuleLookback:
        """The look-back of its window."""
        return RuleLookback(frozenset({self.span}))

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """The aggregate of the window."""
        value, _ = self._value(view, at_us)
        limit = self.limit
        return ConditionCause(
            COLUMNS[self.span.column],
            value,
            limit.threshold,
            limit.clear,
            self.function,
            self.span.window_us,
            self.path,
            None,
            (),
        )


@dataclass(frozen=True, slots=True)
class SilenceLeaf(CompiledLeaf):
    """Detects that a box sent no sample, or none with a metric. Unknown before the first sample."""

    path: str
    column: int | None
    quiet_us: int

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Evaluate the time since the newest value."""
        last = view.time(self.column)
        if last == NEVER:
            return UNKNOWN_VERDICT
        silent = at_us - last >= self.quiet_us
        return silent, silent

    def due(self, view: BoxView, after_us: int) -> int | None:
        """The time at which the silence is long enough."""
        last = view.time(self.column)
        due_us = last + self.quiet_us
        return due_us if last != NEVER and due_us > after_us else None

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """The duration of the silence and its limit, in seconds."""
        last = view.time(self.column)
        seconds = None if last == NEVER else (at_us - last) / 1_000_000
        metric = None if self.column is None else COLUMNS[self.column]
        allowed = self.quiet_us / 1_000_000
        return ConditionCause(metric, seconds, allowed, allowed, "no_data", None, self.path, None, ())


@dataclass(frozen=True, slots=True)
class EventLeaf(CompiledLeaf):
    """Holds for at least `count` events of a type within a window, each with a matching candidate."""

    path: str
    kind: str
    window_us: int
    count: int = 1
    confidence: float = 0.0
    class_: str | None = None
    model: str | None = None

    def _found(self, view: BoxView, at_us: int) -> Sequence[BoxEvent]:
        return view.history.fitting(self._matcher(), at_us - self.window_us, at_us)

    def _matcher(self) -> EventMatcher:
        return EventMatcher(self.kind, self.confidence, self.class_, self.model)

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Evaluate the number of matching events."""
        enough = len(self._found(view, at_us)) >= self.count
        return enough, enough

    def due(self, view: BoxView, after_us: int) -> int | None:
        """The time at which the next event leaves the window."""
        leaving = view.history.next_event_us(self.kind, after_us - self.window_us)
        return None if leaving is None else leaving + self.window_us

    def needs(self) -> RuleLookback:
        """The look-back of its window."""
        return RuleLookback(events={self.kind: self.window_us})

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """The newest matching event."""
        found = self._found(view, at_us)
        if not found:
            return ConditionCause(
                None, None, self.confidence, None, None, self.window_us, self.path, None, ()
            )
        event = found[-1]
        fit = self._matcher().best(event) or {}
        details = {
            "type": self.kind,
            "time_us": event.time_us,
            "confidence": fit.get("confidence"),
            "class": fit.get("class"),
            "model": fit.get("model"),
        }
        confidence = fit.get("confidence")
        return ConditionCause(
            None, confidence, self.confidence, None, None, self.window_us, self.path, details, ()
        )
