"""Rules and boxes for tests, and a stage on which things come to them as the consumer leads them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app.catalogue.metrics import COLUMNS, INDEX
from app.platform.kernel.instants import parse_rfc3339
from app.rules.engine.alert_state_machine import AlertTransition
from app.rules.engine.box_and_site_views import BoxFacts, BoxView, SiteView
from app.rules.engine.box_rule_set import compile_box_rules
from app.rules.engine.rule_compiler import CompiledRule, compile_rule
from app.rules.engine.sequential_evaluator import (
    BoxEvaluation,
    EvaluatorInput,
    SequentialEvaluator,
    SiteEvaluation,
    find_next_due_us,
)
from app.rules.engine.threshold_evaluator import evaluate_box_indexed
from app.rules.engine.value_windows import BoxEvent, BoxHistory
from app.timeseries.storage.sample_column_encoding import round_to_float32

MINUTE = 60_000_000
# A Sunday; the minutes of these tests are counted from here.
START = parse_rfc3339("2026-11-22T22:00:00Z")
BOX = BoxFacts(1, "box-1")
SITE = UUID(int=1)
OWNER = UUID(int=2)

type Definition = Mapping[str, Any]
type Row = tuple[float | None, ...]


def at(minute: float) -> int:
    """The instant that is so many minutes after START."""
    return START + round(minute * MINUTE)


def minutes(number: float) -> str:
    """So many minutes as an ISO 8601 duration."""
    return f"PT{number * 60:.6f}S"


def row(**given: float) -> Row:
    """The values of a sample, by metric, in the order of COLUMNS."""
    found: list[float | None] = [None] * len(COLUMNS)
    for name, value in given.items():
        found[INDEX[name]] = value
    return tuple(found)


def ids() -> Callable[[], UUID]:
    """Ids that count up from 1."""
    count = iter(range(1, 1_000_000))
    return lambda: UUID(int=next(count))


def single(condition: Definition, severity: str = "warning", **others: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    """The definition of a rule with one level."""
    return {"levels": [{"severity": severity, "condition": condition}], **others}


def compiled(
    definition: Definition,
    number: int = 1,
    *,
    timezone: str = "UTC",
    attributes: Mapping[str, Any] | None = None,
    version: int = 1,
) -> CompiledRule:
    """A rule whose id is this number."""
    return compile_rule(
        id=UUID(int=number),
        version=version,
        organisation_id=OWNER,
        site_id=SITE,
        name=f"rule {number}",
        definition=definition,
        timezone=timezone,
        attributes=attributes,
    )


class RuleInput(NamedTuple):
    """A sample or an event of a box, at an instant."""

    box: int
    time_us: int
    values: Row | None = None
    event: tuple[str, BoxEvent] | None = None


class ExpectedTransition(NamedTuple):
    """A transition without its random parts."""

    kind: str
    rule: int
    box: int | None
    minute: float
    severity: str | None
    reason: str
    since: float
    sequence: int


def told(transition: AlertTransition) -> ExpectedTransition:
    """What is compared of a transition."""
    return ExpectedTransition(
        transition.kind,
        transition.rule_id.int,
        transition.box_key,
        (transition.time_us - START) / MINUTE,
        transition.severity,
        transition.reason,
        (transition.pending_since_us - START) / MINUTE,
        transition.sequence,
    )


def by_rule(found: Iterable[ExpectedTransition]) -> list[ExpectedTransition]:
    """The history of each rule on each box, one after the other."""
    return sorted(found, key=lambda step: (step.rule, step.box or 0))


class RuleStage:
    """Rules on the boxes of a site, with all that came so far.

    Args:
        definitions: by number of the rule.
        boxes: the boxes of the site.
        site_attributes: those that rules on the site as a whole look up; boxes have their own.
    """

    def __init__(
        self,
        definitions: Mapping[int, Definition],
        boxes: Sequence[BoxFacts] = (BOX,),
        *,
        timezone: str = "UTC",
        site_attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.rules = {
            box.key: compile_box_rules(
                [
                    rule
                    for number, definition in definitions.items()
                    for rule in [
                        compiled(definition, number, timezone=timezone, attributes=box.attributes),
                    ]
                    if rule.whole_site or rule.scope is None or rule.scope.takes(box)
                ]
            )
            for box in boxes
        }
        self.across = [
            rule
            for number, definition in definitions.items()
            if (
                rule := compiled(definition, number, timezone=timezone, attributes=site_attributes)
            ).whole_site
        ]
        self.boxes = boxes
        self.stored: dict[tuple[int, int], list[tuple[int, float]]] = {}
        self.events: dict[tuple[int, str], list[BoxEvent]] = {}
        self.transitions: list[AlertTransition] = []
        self.new_id = ids()
        self.states: dict[int, Any] = {box.key: {} for box in boxes}
        self.site_state: Any = {}
        self.open_views()

    def open_views(self) -> None:
        """Begin with what is stored, and nothing else, as after a crash."""
        self.states = {key: json.loads(json.dumps(state)) for key, state in self.states.items()}
        self.site_state = json.loads(json.dumps(self.site_state))
        self.tracks = {
            box.key: BoxEvaluation(self._view(box), self.rules[box.key], self.states[box.key])
            for box in self.boxes
        }
        self.site = (
            SiteEvaluation(
                SiteView({key: track.view for key, track in self.tracks.items()}),
                self.across,
                self.site_state,
            )
            if self.across
            else None
        )

    def _view(self, box: BoxFacts) -> BoxView:
        needs = self.rules[box.key].needs
        history = BoxHistory(needs)
        past: list[tuple[int, int, float]] = []
        for (key, column), seen in self.stored.items():
            if key == box.key:
                newest = seen[-1][0]
                longest = max((span.window_us for span in needs.spans if span.column == column), default=0)
                past += [(time, column, value) for time, value in seen if time > newest - longest]
        for time, column, value in sorted(past):
            history.add(column, time, round_to_float32(column, value))
        for (key, kind), events in self.events.items():
            if key == box.key and kind in needs.events:
                for event in events:
                    history.add_event(kind, event, needs.events[kind])
        return BoxView(box, self._latest(box.key), history, needs)

    def _latest(self, box_key: int) -> dict[str, tuple[float, int]]:
        return {
            COLUMNS[column]: (seen[-1][1], seen[-1][0])
            for (key, column), seen in self.stored.items()
            if key == box_key
        }

    def batch(self, things: Sequence[RuleInput]) -> list[ExpectedTransition]:
        """Lead a batch through the gates, then on the walk; returns what is told of it."""
        found: list[tuple[float, AlertTransition]] = []
        for key, track in self.tracks.items():
            mine = [(place, thing) for place, thing in enumerate(things) if thing.box == key and thing.values]
            samples = [(thing.time_us, thing.values) for _, thing in mine if thing.values is not None]
            marks = self._latest(key)
            steps, _ = evaluate_box_indexed(track.rules, track.state, marks, samples, key, self.new_id)
            found += [(mine[place][0] if place >= 0 else -1, step) for place, step in steps]
        walk = SequentialEvaluator(self.tracks, self.site, self.new_id)
        for place, thing in enumerate(things):
            self._store(thing)
            walk.take(EvaluatorInput(place, *thing))
        return self._tell(found + walk.found)

    def _store(self, thing: RuleInput) -> None:
        """Keep what is on time."""
        for column, value in enumerate(thing.values or ()):
            if value is not None:
                seen = self.stored.setdefault((thing.box, column), [])
                if not seen or seen[-1][0] < thing.time_us:
                    seen.append((thing.time_us, value))
        if thing.event is not None:
            kind, event = thing.event
            events = self.events.setdefault((thing.box, kind), [])
            if not events or events[-1].time_us < thing.time_us:
                events.append(event)

    def _tell(self, found: list[tuple[float, AlertTransition]]) -> list[ExpectedTransition]:
        found.sort(key=lambda entry: entry[0])
        transitions = [transition for _, transition in found]
        self.transitions += transitions
        return [told(transition) for transition in transitions]

    def tick(self, minute: float) -> list[ExpectedTransition]:
        """Let happen what is due up to then."""
        walk = SequentialEvaluator(self.tracks, self.site, self.new_id)
        walk.catch_up(at(minute))
        return self._tell(walk.found)

    def due(self) -> float | None:
        """The minute at which anything has to be looked at though nothing comes."""
        tracks = [*self.tracks.values(), *(() if self.site is None else (self.site,))]
        found = min((due for track in tracks if (due := find_next_due_us(track)) is not None), default=None)
        return None if found is None else (found - START) / MINUTE

    def sample(self, minute: float, box: int = 1, **given: float) -> list[ExpectedTransition]:
        """One sample."""
        return self.batch([RuleInput(box, at(minute), row(**given))])

    def event(
        self,
        minute: float,
        kind: str = "gunshot",
        box: int = 1,
        **candidate: Any,  # noqa: ANN401 (of any type)
    ) -> list[ExpectedTransition]:
        """One event, with one candidate if anything is said of it."""
        return self.batch([event(minute, kind, box, [candidate] if candidate else [])])

    @property
    def told(self) -> list[ExpectedTransition]:
        """All that was told."""
        return [told(transition) for transition in self.transitions]


def move(view: BoxView, time_us: int, values: Row) -> None:
    """Move a view forward with a sample, unless it is late."""
    if fresh := view.fresh(time_us, values):
        view.take(time_us, values, fresh)


def event(minute: float, kind: str, box: int, candidates: Sequence[Mapping[str, Any]]) -> RuleInput:
    """An event as a thing that comes."""
    return RuleInput(box, at(minute), None, (kind, BoxEvent(at(minute), candidates)))


def brief(found: Iterable[ExpectedTransition]) -> list[tuple[str, float]]:
    """(kind, minute) of each."""
    return [(step.kind, step.minute) for step in found]
