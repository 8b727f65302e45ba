"""The leaves of a condition, compiled: each says of a moment whether it raises, and whether it still holds.

Three answers: true, false, and not known. What is not known neither fires nor resolves anything. How they are
combined is the business of `app.rules.engine.condition_combinations`. Pure: a view and a time are all that a
leaf looks at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from app.catalogue.metrics import COLUMNS
from app.rules.engine.snapshot import NEVER, BoxView
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict, ValueLimit
from app.rules.engine.value_windows import BoxEvent, EventMatcher, RuleLookback, WindowSpec

type ConditionView = Any
"""A BoxView, or for a rule on the site as a whole a SiteView: which one, the compiler has seen to."""


class ConditionCause(NamedTuple):
    """The part of a condition that decided.

    Attributes:
        metric: the metric that it looks at, if it does.
        value: what the metric, or its function, came to; of an event its confidence.
        threshold, clear: what it was compared with.
        function: such as `mean`; None for a plain value.
        window_us: how far back it looks.
        path: where it stands in the rule, such as `levels/0/condition/all/1`.
        event: the event's `type`, `time_us`, `confidence`, `class` and `model`.
        boxes: keys of the boxes that raise it, for a rule on the site as a whole.
        figure: of an index its `method` with `version`, titles, `period`, `unit`, `coverage` and class.
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
        """Where it stands in the rule."""

    def evaluate(self, view: ConditionView, at_us: int) -> ConditionVerdict:
        """Tell whether it raises at a time, and whether it still holds."""

    def due(self, view: ConditionView, after_us: int) -> int | None:
        """The first time after this one at which the answer may be another though nothing comes."""

    def until(self, view: ConditionView, at_us: int) -> int | None:
        """Up to when what it says at a time stays true though nothing comes; None: for ever."""

    def cause(self, view: ConditionView, at_us: int) -> ConditionCause:
        """What to say of it to people."""

    def parts(self) -> Iterator["CompiledNode"]:
        """Itself and all that is in it."""

    def needs(self) -> RuleLookback:
        """How far it alone looks back."""


class CompiledLeaf:
    """What parts without parts of their own have in common."""

    __slots__ = ()

    def parts(self) -> Iterator[Any]:
        """Itself."""
        yield self

    def due(self, view: ConditionView, after_us: int) -> int | None:  # noqa: ARG002 (the protocol's)
        """Nothing changes it but what comes."""
        return None

    def until(self, view: ConditionView, at_us: int) -> int | None:
        """Up to when it stays true: until it is due."""
        due = self.due(view, at_us)
        return None if due is None else due - 1

    def needs(self) -> RuleLookback:
        """It looks back at nothing."""
        return RuleLookback()


@dataclass(frozen=True, slots=True)
class ValueLeaf(CompiledLeaf):
    """The newest value of a metric, against a limit; not known once it is older than `max_age_us`."""

    path: str
    column: int
    limit: ValueLimit
    max_age_us: int

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Of the newest value."""
        known = view.value(self.column)
        if known is None or at_us - known[1] > self.max_age_us:
            return UNKNOWN_VERDICT
        return self.limit.evaluate(known[0])

    def until(self, view: BoxView, at_us: int) -> int | None:
        """As long as the value is not too old."""
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
    """What a metric comes to over a window, against a limit.

    Not known until the values span three quarters of the window, or as long as fewer than `coverage` percent
    of those that were due came; but for extremes that more values could not take back.
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
        speaks = window.spans() and (
            self.coverage is None or window.covers(self.coverage, view.facts.interval_s * 1_000_000)
        )
        return window.aggregate(self.function, self.percentile), speaks

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Of what the window comes to."""
        value, speaks = self._value(view, at_us)
        if value is None:
            return UNKNOWN_VERDICT
        verdict = self.limit.evaluate(value)
        if speaks or (self.certain and verdict[0]):
            return verdict
        return UNKNOWN_VERDICT

    def until(self, view: BoxView, at_us: int) -> int | None:  # noqa: ARG002 (the protocol's)
        """As long as no value leaves the window."""
        oldest = view.history.windows[self.span].oldest_us
        return None if oldest is None else oldest + self.span.window_us - 1

    def needs(self) -> RuleLookback:
        """Its window."""
        return RuleLookback(frozenset({self.span}))

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """What the window comes to."""
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
    """No sample of a box, or none with a metric, for a while. Not known of what was never heard."""

    path: str
    column: int | None
    quiet_us: int

    def evaluate(self, view: BoxView, at_us: int) -> ConditionVerdict:
        """Of the time since the newest value."""
        last = view.time(self.column)
        if last == NEVER:
            return UNKNOWN_VERDICT
        silent = at_us - last >= self.quiet_us
        return silent, silent

    def due(self, view: BoxView, after_us: int) -> int | None:
        """When the silence has lasted long enough."""
        last = view.time(self.column)
        ripe = last + self.quiet_us
        return ripe if last != NEVER and ripe > after_us else None

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """How many seconds it has lasted, against how many it may."""
        last = view.time(self.column)
        seconds = None if last == NEVER else (at_us - last) / 1_000_000
        metric = None if self.column is None else COLUMNS[self.column]
        allowed = self.quiet_us / 1_000_000
        return ConditionCause(metric, seconds, allowed, allowed, "no_data", None, self.path, None, ())


@dataclass(frozen=True, slots=True)
class EventLeaf(CompiledLeaf):
    """At least `count` events of a type within a window, each with a candidate that fits."""

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
        """Of how many there were."""
        enough = len(self._found(view, at_us)) >= self.count
        return enough, enough

    def due(self, view: BoxView, after_us: int) -> int | None:
        """When one of the events leaves the window."""
        leaving = view.history.next_event_us(self.kind, after_us - self.window_us)
        return None if leaving is None else leaving + self.window_us

    def needs(self) -> RuleLookback:
        """Its window."""
        return RuleLookback(events={self.kind: self.window_us})

    def cause(self, view: BoxView, at_us: int) -> ConditionCause:
        """The newest event that fits."""
        found = self._found(view, at_us)
        if not found:
            return ConditionCause(
                None, None, self.confidence, None, None, self.window_us, self.path, None, ()
            )
        event = found[-1]
        fit = self._matcher().best(event) or {}
        told = {
            "type": self.kind,
            "time_us": event.time_us,
            "confidence": fit.get("confidence"),
            "class": fit.get("class"),
            "model": fit.get("model"),
        }
        confidence = fit.get("confidence")
        return ConditionCause(
            None, confidence, self.confidence, None, None, self.window_us, self.path, told, ()
        )
