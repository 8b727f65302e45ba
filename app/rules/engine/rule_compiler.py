"""From a stored rule to one that can be evaluated on a box: its attributes looked up, its hours in its zone.

Owns the reading of definitions; what is read was validated when it was stored. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from uuid import UUID

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.instants import US_PER_S, parse_iso_duration
from app.platform.kernel.weekly_hours import WeeklyHours, make_weekly_hours
from app.rules.engine.compiled_conditions import CompiledNode, EventLeaf, SilenceLeaf, ValueLeaf, WindowLeaf
from app.rules.engine.condition_combinations import AllOf, AnyOf, BoxQuorum, NamedBoxNode, NegatedNode
from app.rules.engine.snapshot import Attributes, BoxFacts, CompiledScope, compile_scope
from app.rules.engine.thresholds import RangeLimit, ValueLimit, make_limit
from app.rules.engine.value_windows import WINDOW_FUNCTIONS, RuleLookback, WindowSpec
from app.rules.indicators.indicator_conditions import IndexLeaf, rank_band
from app.rules.indicators.indicator_query import IndexQuery, parse_index_query

MAX_AGE: Final = "PT1H"
"""How old a value may be, where a rule does not say."""

EVENT_WINDOW: Final = "PT5M"
"""How far back events are counted, where a condition does not say."""

# Gates look at values before they are rounded as they are stored: a hair's breadth wider is always right.
_HAIR: Final = 1e-6


@dataclass(frozen=True, slots=True)
class CompiledLevel:
    """One step of a rule's ladder, with a condition of its own.

    Attributes:
        severity: info, warning or critical.
        node: the condition.
        for_us: how long it has to raise before the level fires (µs of measurement time).
        repeat: how many times in a row it has to be found raised.
        keep_us: how long it has to be cleared before the level ends (µs).
    """

    severity: str
    node: CompiledNode
    for_us: int
    repeat: int
    keep_us: int


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """A rule, ready to be evaluated on a box, or on a site as a whole.

    Attributes:
        id: the rule.
        key: its id as text, the key of its state.
        version: counts up with each change of the rule.
        organisation_id: whose it is.
        site_id: the site to whose boxes it applies.
        name: for people.
        dry_run: its alerts are told to nobody.
        levels: the least severe first.
        hours: when it is active; None for always.
        scope: to which boxes it applies; None for all.
        escalations: (after µs, severity) of an alert that nobody acknowledges, the soonest first.
        remind_us: how often people are reminded of one (µs).
        attributes: names of the attributes that its numbers come from.
        across: its parts that look at boxes of a site, where it is on the site as a whole.
        column: the one column that all its levels compare plain values of; None where it needs a walk, as it
            does where its hours end between two samples.
        limits: what each level compares them with; empty where it needs a walk.
        only: the one column that it looks at, where it looks at nothing else.
        columns: every column that it looks at; all of them where it waits for a box's silence.
        events: every type of event that it looks at.
        silences: the columns whose silence it waits for (None: that of the box), each with how long (µs).
        timed: it may change though nothing comes.
        starts_without_input: it may begin though nothing comes.
        needs: what it looks back at.
        index_queries: the indices that it looks at; where there are some, nothing else is, and no sample concerns it.
        parts: how many parts its conditions have.
        look_back_us: how long before its first moment anything matters to it.
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
        """Whether it is on the site as a whole."""
        return bool(self.across)

    def looks_at(self, box: BoxFacts) -> bool:
        """Tell whether a rule on a site as a whole looks at a box."""
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
    """Compile a stored rule for boxes with these attributes at a site in this time zone.

    Raises:
        KeyError: an unknown metric or operator, or a missing field: it was not validated.
        RejectedError: `invalid_duration`.
        ValueError: what else cannot be understood.
    """
    scope = compile_scope(definition.get("scope"))
    owner = "" if _goes_by_one_column(definition) else str(id)
    reader = _Reader(attributes or {}, _us(definition.get("max_age") or MAX_AGE), scope, owner)
    levels = tuple(
        reader.level(level, f"levels/{place}/condition") for place, level in enumerate(definition["levels"])
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
        attributes=tuple(sorted(reader.attribute_names)),
        across=tuple(part for part in parts if isinstance(part, BoxQuorum | NamedBoxNode)),
        column=(column := _only_column(levels) if spans is None else None),
        limits=() if column is None else tuple(_limits(levels)),
        only=next(iter(columns)) if len(columns) == 1 and not events else None,
        columns=columns,
        events=events,
        silences=frozenset((part.column, part.quiet_us) for part in parts if isinstance(part, SilenceLeaf)),
        timed=any(isinstance(part, SilenceLeaf | EventLeaf) for part in parts),
        # An event that leaves its window begins nothing, but for a `not`.
        starts_without_input=any(isinstance(part, SilenceLeaf) for part in parts)
        or any(isinstance(part, EventLeaf) for part in parts)
        & any(isinstance(part, NegatedNode) for part in parts),
        needs=merge_lookbacks(part.needs() for part in parts),
        index_queries=frozenset(part.query for part in parts if isinstance(part, IndexLeaf)),
        parts=len(parts),
        look_back_us=0 if column is not None else max(map(_look_back, parts)),
    )


def _goes_by_one_column(definition: Mapping[str, Any]) -> bool:
    """Tell whether nothing but samples with one certain metric of a box brings a rule's clock forward."""
    metrics: set[str | None] = set()
    waiting = [level["condition"] for level in definition["levels"]]
    while waiting:
        part = waiting.pop()
        if "boxes" in part or part.get("box"):
            return False
        inner = part.get("all") or part.get("any") or ([part["not"]] if "not" in part else [])
        waiting += inner
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
    """The column of a rule that compares plain values of one metric, and can be gated by it."""
    columns = {level.node.column if isinstance(level.node, ValueLeaf) else None for level in levels}
    return columns.pop() if len(columns) == 1 else None


def _limits(levels: Sequence[CompiledLevel]) -> Iterator[ValueLimit]:
    for level in levels:
        if isinstance(level.node, ValueLeaf):
            yield level.node.limit


def merge_lookbacks(each: Iterator[RuleLookback]) -> RuleLookback:
    """How far back all of them together look."""
    spans: set[WindowSpec] = set()
    events: dict[str, int] = {}
    for needs in each:
        spans |= needs.spans
        for kind, window_us in needs.events.items():
            events[kind] = max(window_us, events.get(kind, 0))
    return RuleLookback(frozenset(spans), events)


class _Reader:
    """Reads the levels of one definition, for one set of attributes."""

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
                nodes = tuple(self.node(part, f"{path}/{key}/{place}") for place, part in enumerate(inner))
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
