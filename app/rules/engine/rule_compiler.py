"""Compiles a stored rule into the objects that the evaluators run, for a box or a site. Pure.

It fills in the attributes of the box or site, and the site's time zone.

Stored definitions were validated; a malformed one raises.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from uuid import UUID

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.instants import US_PER_S, parse_iso_duration
from app.platform.kernel.weekly_hours import WeeklyHours, make_weekly_hours
from app.rules.engine.box_and_site_views import Attributes, BoxFacts, CompiledScope, compile_scope
from app.rules.engine.condition_combinations import AllOf, AnyOf, BoxQuorum, NamedBoxNode, NegatedNode
from app.rules.engine.condition_leaf_evaluation import (
    CompiledNode,
    EventLeaf,
    SilenceLeaf,
    ValueLeaf,
    WindowLeaf,
)
from app.rules.engine.thresholds import RangeLimit, ValueLimit, make_limit
from app.rules.engine.value_windows import WINDOW_FUNCTIONS, RuleLookback, WindowSpec
from app.rules.index_rules.index_condition_evaluation import IndexLeaf, rank_band
from app.rules.index_rules.index_selection import IndexQuery, parse_index_query

MAX_AGE: Final = "PT1H"
"""The default of `max_age`: an older value is unknown."""

EVENT_WINDOW: Final = "PT5M"
"""The default window in which events are counted."""


@dataclass(frozen=True, slots=True)
class CompiledLevel:
    """A level of a rule: a severity with its condition.

    Attributes:
        severity: info, warning or critical.
        node: the condition.
        for_us: how long it must hold before the level fires (µs of measurement time).
        repeat: how many consecutive evaluations must raise.
        keep_us: how long it must be cleared before the level ends (µs).
    """

    severity: str
    node: CompiledNode
    for_us: int
    repeat: int
    keep_us: int


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """A rule that can be evaluated on a box or on a whole site.

    Attributes:
        id: the rule.
        key: its id as text, the key of its state.
        version: increases with each change of the rule.
        organisation_id: the organisation of the rule.
        site_id: the site of the rule.
        name: its name.
        dry_run: whether its alerts are recorded, but not delivered.
        levels: the least severe first.
        hours: the active hours; None for always.
        scope: the boxes that it applies to; None for all.
        escalations: (after µs, severity) for unacknowledged alerts, the earliest first.
        remind_us: the interval of reminders of an unacknowledged alert (µs).
        attributes: the names of the attributes that its numbers come from.
        across: the parts that read the boxes of a site; set for a rule on a whole site.
        column: the column of a threshold rule, which compares plain values of one metric; None for a rule
            that must evaluate every sample, such as one with active hours.
        limits: the limit of each level of a threshold rule; else empty.
        only: the column that it reads, if it reads nothing else.
        columns: all columns that it reads; every column if it waits for the silence of a box.
        events: all event types that it reads.
        silences: (column, duration in µs) of each silence that it waits for; column None: any sample.
        timed: whether it may change without a sample.
        starts_without_input: whether it may begin without a sample.
        needs: its look-back.
        index_queries: the indices that it queries; such a rule reads no samples.
        parts: the number of parts of its conditions.
        look_back_us: how long before its first moment samples matter to it (µs).
    """

    id: UUID
    key: str
    version: int
    organisation_id: UUID
    site_id: UUID
    name: str
    dry_run: bool
    levels: tuple[CompiledLevel, ...]
    hours: WeeklyHours | None
    scope: CompiledScope | None
    escalations: tuple[tuple[int, str], ...]
    remind_us: int | None
    attributes: tuple[str, ...]
    across: tuple[BoxQuorum | NamedBoxNode, ...]
    column: int | None
    limits: tuple[ValueLimit, ...]
    only: int | None
    columns: frozenset[int]
    events: frozenset[str]
    silences: frozenset[tuple[int | None, int]]
    timed: bool
    starts_without_input: bool
    needs: RuleLookback
    index_queries: frozenset[IndexQuery]
    parts: int
    look_back_us: int

    @property
    def severities(self) -> tuple[str, ...]:
        """The severity of each level."""
        return tuple(level.severity for level in self.levels)

    @property
    def whole_site(self) -> bool:
        """Whether it is on a whole site."""
        return bool(self.across)

    def looks_at(self, box: BoxFacts) -> bool:
        """Return whether a rule on a whole site reads a box."""
        return any(part.takes(box) for part in self.across)


def compile_rule(  # noqa: PLR0917 (the columns of a row, given by name)
    id: UUID,  # noqa: A002 (the column's name)
    version: int,
    organisation_id: UUID,
    site_id: UUID,
    name: str,
    definition: Mapping[str, Any],
    dry_run: bool = False,  # noqa: FBT001, FBT002 (a column, given by name)
    timezone: str = "UTC",
    attributes: Attributes | None = None,
) -> CompiledRule:
    """Compile a stored rule for boxes with the same attributes.

    Args:
        id: the rule.
        version: its version.
        organisation_id: its organisation.
        site_id: its site.
        name: its name.
        definition: its stored definition.
        dry_run: whether its alerts are not delivered.
        timezone: the time zone of the site, for active hours.
        attributes: the attributes of the boxes, or of the site for a rule on a whole site.

    Raises:
        KeyError: the definition has an unknown metric or operator, or lacks a field: it was not validated.
        RejectedError: `invalid_duration`.
        ValueError: the definition is malformed in another way.
    """
    scope = compile_scope(definition.get("scope"))
    owner = "" if _depends_on_one_column(definition) else str(id)
    compiler = _DefinitionCompiler(attributes or {}, _us(definition.get("max_age") or MAX_AGE), scope, owner)
    levels = tuple(
        compiler.level(level, f"levels/{index}/condition") for index, level in enumerate(definition["levels"])
    )
    if not levels:
        raise ValueError("a rule without levels")
    parts = list(chain.from_iterable(level.node.parts() for level in levels))
    columns = frozenset(_columns(parts))
    events = frozenset(part.kind for part in parts if isinstance(part, EventLeaf))
    spans = active if (active := definition.get("active")) else None
    return CompiledRule(
        id=id,
        key=str(id),
        version=version,
        organisation_id=organisation_id,
        site_id=site_id,
        name=name,
        dry_run=dry_run,
        levels=levels,
        hours=None if spans is None else make_weekly_hours(spans, timezone),
        scope=scope,
        escalations=tuple(
            sorted((_us(step["after"]), step["severity"]) for step in definition.get("escalations") or ())
        ),
        remind_us=None if not definition.get("remind_every") else _us(definition["remind_every"]),
        attributes=tuple(sorted(compiler.attribute_names)),
        across=tuple(part for part in parts if isinstance(part, BoxQuorum | NamedBoxNode)),
        column=(column := _only_column(levels) if spans is None else None),
        limits=() if column is None else tuple(_limits(levels)),
        only=next(iter(columns)) if len(columns) == 1 and not events else None,
        columns=columns,
        events=events,
        silences=frozenset((part.column, part.quiet_us) for part in parts if isinstance(part, SilenceLeaf)),
        timed=any(isinstance(part, SilenceLeaf | EventLeaf) for part in parts),
        # An event that leaves its window can begin an alert only under a `not`.
        starts_without_input=any(isinstance(part, SilenceLeaf) for part in parts)
        or any(isinstance(part, EventLeaf) for part in parts)
        & any(isinstance(part, NegatedNode) for part in parts),
        needs=merge_lookbacks(part.needs() for part in parts),
        index_queries=frozenset(part.query for part in parts if isinstance(part, IndexLeaf)),
        parts=len(parts),
        look_back_us=0 if column is not None else max(map(_look_back, parts)),
    )


def _depends_on_one_column(definition: Mapping[str, Any]) -> bool:
    """Return whether only samples with one metric of a box advance the clock of a rule."""
    metrics: set[str | None] = set()
    stack = [level["condition"] for level in definition["levels"]]
    while stack:
        part = stack.pop()
        if "boxes" in part or part.get("box"):
            return False
        inner = part.get("all") or part.get("any") or ([part["not"]] if "not" in part else [])
        stack += inner
        if not inner:
            metrics.add(None if "event" in part or "index" in part else part.get("metric"))
    return len(metrics) == 1 and None not in metrics


def _us(duration: str) -> int:
    return round(parse_iso_duration(duration) * US_PER_S)


def _look_back(part: CompiledNode) -> int:
    if isinstance(part, ValueLeaf):
        return part.max_age_us
    if isinstance(part, WindowLeaf):
        return part.span.window_us
    if isinstance(part, SilenceLeaf):
        return part.quiet_us
    return part.window_us if isinstance(part, EventLeaf) else 0


def _columns(parts: Sequence[CompiledNode]) -> Iterator[int]:
    for part in parts:
        if isinstance(part, ValueLeaf):
            yield part.column
        elif isinstance(part, WindowLeaf):
            yield part.span.column
        elif isinstance(part, SilenceLeaf):
            yield from range(len(COLUMNS)) if part.column is None else (part.column,)


def _only_column(levels: Sequence[CompiledLevel]) -> int | None:
    """Find the column of a threshold rule; None if the rule must evaluate every sample."""
    columns = {level.node.column if isinstance(level.node, ValueLeaf) else None for level in levels}
    return columns.pop() if len(columns) == 1 else None


def _limits(levels: Sequence[CompiledLevel]) -> Iterator[ValueLimit]:
    for level in levels:
        if isinstance(level.node, ValueLeaf):
            yield level.node.limit


def merge_lookbacks(each: Iterator[RuleLookback]) -> RuleLookback:
    """Merge look-backs into one that covers them all."""
    spans: set[WindowSpec] = set()
    events: dict[str, int] = {}
    for needs in each:
        spans |= needs.spans
        for kind, window_us in needs.events.items():
            events[kind] = max(window_us, events.get(kind, 0))
    return RuleLookback(frozenset(spans), events)


class _DefinitionCompiler:
    """Compiles the levels of one definition for one set of attributes, and records the names it uses."""

    def __init__(
        self, attributes: Attributes, max_age_us: int, scope: CompiledScope | None, owner: str
    ) -> None:
        self.attribute_names: set[str] = set()
        self._owner = owner
        self._scope = scope
        self._attributes = attributes
        self._max_age_us = max_age_us

    def level(self, stored: Mapping[str, Any], path: str) -> CompiledLevel:
        condition = stored["condition"]
        return CompiledLevel(
            stored["severity"],
            self.node(condition, path),
            _us(condition.get("for") or "PT0S"),
            condition.get("repeat") or 1,
            _us(condition.get("keep_firing_for") or "PT0S"),
        )

    def node(self, stored: Mapping[str, Any], path: str) -> CompiledNode:
        for key, kind in (("all", AllOf), ("any", AnyOf)):
            if key in stored:
                inner = stored[key]
                nodes = tuple(self.node(part, f"{path}/{key}/{index}") for index, part in enumerate(inner))
                return kind(path, nodes)
        if "not" in stored:
            return NegatedNode(path, (self.node(stored["not"], f"{path}/not"),))
        if "boxes" in stored:
            return BoxQuorum(
                path,
                (self.node(stored["boxes"], f"{path}/boxes"),),
                stored.get("at_least"),
                stored.get("share"),
                compile_scope(stored.get("scope")) or self._scope,
            )
        leaf = self._leaf(stored, path)
        return leaf if not stored.get("box") else NamedBoxNode(path, stored["box"], (leaf,))

    def _leaf(self, stored: Mapping[str, Any], path: str) -> CompiledNode:
        if "event" in stored:
            return EventLeaf(
                path,
                stored["event"],
                _us(stored.get("window") or EVENT_WINDOW),
                stored.get("count") or 1,
                stored.get("confidence") or 0.0,
                stored.get("class"),
                stored.get("model"),
            )
        if "no_data" in stored:
            metric = stored.get("metric")
            return SilenceLeaf(path, None if metric is None else INDEX[metric], _us(stored["no_data"]))
        if "index" in stored:
            return self._index(stored, path)
        column = INDEX[stored["metric"]]
        limit = self._limit(stored)
        function = stored.get("function")
        if function is None:
            return ValueLeaf(path, column, limit, self._max_age_us)
        if function not in WINDOW_FUNCTIONS:
            raise KeyError(function)
        upward = stored["operator"] in {">", ">="}
        return WindowLeaf(
            path,
            WindowSpec(column, _us(stored["window"]), self._owner),
            function,
            limit,
            stored.get("percentile"),
            stored.get("coverage"),
            certain=(function in {"max", "spread", "count"} and upward)
            or (function == "min" and stored["operator"] in {"<", "<="}),
        )

    def _index(self, stored: Mapping[str, Any], path: str) -> IndexLeaf:
        query, band = parse_index_query(stored), stored.get("band")
        if band is None:
            return IndexLeaf(path, query, self._limit(stored))
        clear = stored.get("clear_band")
        limit = make_limit(
            ">=", rank_band(query.method, band), None if clear is None else rank_band(query.method, clear)
        )
        return IndexLeaf(path, query, limit, band)

    def _limit(self, stored: Mapping[str, Any]) -> ValueLimit:
        operator = stored["operator"]
        if operator in {"inside", "outside"}:
            return RangeLimit(
                operator,
                self._number(stored["low"]),
                self._number(stored["high"]),
                float(stored.get("margin") or 0.0),
            )
        threshold = self._number(stored["threshold"])
        clear = stored.get("clear")
        return make_limit(operator, threshold, threshold if clear is None else self._number(clear))

    def _number(self, stored: Any) -> float | None:  # noqa: ANN401 (a number, or an object that names one)
        if not isinstance(stored, Mapping):
            return float(stored)
        name = stored["attribute"]
        self.attribute_names.add(name)
        found = self._attributes.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            found = stored.get("default")
        return None if found is None else float(found)
