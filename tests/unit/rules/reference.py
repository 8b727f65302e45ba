"""A second evaluator, slow and plain, to compare the real one with.

It keeps every on-time sample and event in lists, works every window out anew, and looks at every minute for
what is due in it. All times are whole minutes after START.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from app.catalogue.metrics import COLUMNS
from app.platform.kernel.instants import to_datetime
from app.rules.engine.box_and_site_views import BoxFacts
from tests.unit.rules.helpers import MINUTE, START, Definition, ExpectedTransition, RuleInput

type Answer = bool | None
type Verdict = tuple[Answer, Answer]
type Subject = int | None
"""A box's key, or None for the site as a whole."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _length(duration: str | None) -> Fraction:
    """Minutes of `PT…S`."""
    return Fraction(0) if duration is None else Fraction(duration[2:-1]) / 60


def _inner(node: Definition) -> list[Definition]:
    many = [*node.get("all", ()), *node.get("any", ())]
    return many + [node[key] for key in ("not", "boxes") if key in node]


def _leaves(node: Definition) -> Iterator[Definition]:
    inner = _inner(node)
    if not inner:
        yield node
    for part in inner:
        yield from _leaves(part)


def _has(node: Definition, key: str) -> bool:
    return key in node or any(_has(part, key) for part in _inner(node))


def _and(answers: Sequence[Answer]) -> Answer:
    if any(answer is False for answer in answers):
        return False
    return None if any(answer is None for answer in answers) else True


def _or(answers: Sequence[Answer]) -> Answer:
    if any(answer is True for answer in answers):
        return True
    return None if any(answer is None for answer in answers) else False


class ReferenceWorld:
    """All that is known of the boxes of a site."""

    def __init__(
        self, boxes: Sequence[BoxFacts], site_attributes: Mapping[str, Any] | None, timezone: str
    ) -> None:
        self.boxes = {box.key: box for box in boxes}
        self.site_attributes = site_attributes or {}
        self.zone = ZoneInfo(timezone)
        self.values: dict[tuple[int, str], list[tuple[int, float]]] = {}
        self.events: dict[tuple[int, str], list[tuple[int, Sequence[Mapping[str, Any]]]]] = {}

    def newest(self, box: int, metric: str | None) -> int | None:
        """The minute of the newest value."""
        return max(
            (
                seen[-1][0]
                for (key, name), seen in self.values.items()
                if key == box and metric in {None, name}
            ),
            default=None,
        )

    def takes(self, scope: Mapping[str, Sequence[str]] | None, box: int) -> bool:
        """Whether a scope takes a box."""
        facts = self.boxes[box]
        return not scope or (
            ("boxes" not in scope or facts.id in scope["boxes"])
            and ("kinds" not in scope or facts.kind in scope["kinds"])
            and ("tags" not in scope or any(tag in facts.tags for tag in scope["tags"]))
        )

    def active(self, spans: Sequence[Mapping[str, Any]] | None, minute: int) -> bool:
        """Whether hours are on in a minute: of a span's day, or of the day after it."""
        if not spans:
            return True
        local = to_datetime(START + minute * MINUTE).astimezone(self.zone).replace(tzinfo=None)
        for span in spans:
            for back in (0, 1):
                day = (local - timedelta(days=back)).replace(hour=0, minute=0)
                begin, end = (
                    day + timedelta(hours=int(text[:2]), minutes=int(text[3:]))
                    for text in (span["from"], span["to"])
                )
                if end <= begin:
                    end += timedelta(days=1)
                if _DAYS[day.weekday()] in span.get("days", _DAYS) and begin <= local < end:
                    return True
        return False


class ReferenceEvaluator:
    """Says of a condition whether it raises and holds."""

    def __init__(
        self,
        world: ReferenceWorld,
        max_age: Fraction,
        scope: Mapping[str, Sequence[str]] | None,
        *,
        whole: bool,
    ) -> None:
        self.world = world
        self.max_age = max_age
        self.scope = scope
        self.whole = whole

    def judge(self, node: Definition, box: Subject, minute: int) -> Verdict:
        """(raises, holds) of a box, or of the site."""
        if "all" in node:
            verdicts = [self.judge(part, box, minute) for part in node["all"]]
            return _and([one[0] for one in verdicts]), _and([one[1] for one in verdicts])
        if "any" in node:
            verdicts = [self.judge(part, box, minute) for part in node["any"]]
            return _or([one[0] for one in verdicts]), _or([one[1] for one in verdicts])
        if "not" in node:
            raises, holds = self.judge(node["not"], box, minute)
            return None if holds is None else not holds, None if raises is None else not raises
        if "boxes" in node:
            members = [
                key for key in self.world.boxes if self.world.takes(node.get("scope") or self.scope, key)
            ]
            verdicts = [self.judge(node["boxes"], key, minute) for key in members]
            return self._count(node, [one[0] for one in verdicts]), self._count(
                node, [one[1] for one in verdicts]
            )
        if "box" in node:
            box = next((key for key, facts in self.world.boxes.items() if facts.id == node["box"]), None)
        return (None, None) if box is None else self._leaf(node, box, minute)

    def _count(self, node: Definition, answers: Sequence[Answer]) -> Answer:
        def enough(count: int) -> bool:
            if "share" in node:
                return count > 0 and Fraction(count, len(answers)) >= Fraction(node["share"]) / 100
            return count >= int(node["at_least"])

        if enough(sum(answer is True for answer in answers)):
            return True
        return None if enough(sum(answer is not False for answer in answers)) else False

    def _leaf(self, node: Definition, box: int, minute: int) -> Verdict:
        if "event" in node:
            edge = minute - _length(node.get("window", "PT300S"))
            found = [
                candidates
                for time, candidates in self.world.events.get((box, node["event"]), ())
                if edge < time <= minute and self._fits(node, candidates)
            ]
            enough = len(found) >= node.get("count", 1)
            return enough, enough
        if "no_data" in node:
            last = self.world.newest(box, node.get("metric"))
            silent = None if last is None else minute - last >= _length(node["no_data"])
            return silent, silent
        seen = self.world.values.get((box, node["metric"]), [])
        if "function" in node:
            return self._window(node, box, seen, minute)
        if not seen or minute - seen[-1][0] > self.max_age:
            return None, None
        return self._limit(node, box, seen[-1][1])

    @staticmethod
    def _fits(node: Definition, candidates: Sequence[Mapping[str, Any]]) -> bool:
        if not candidates and not any(key in node for key in ("confidence", "class", "model")):
            return True
        return any(
            candidate.get("confidence", 0) >= node.get("confidence", 0)
            and all(candidate.get(key) == node[key] for key in ("class", "model") if key in node)
            for candidate in candidates
        )

    def _number(self, given: Any, box: int) -> float | None:  # noqa: ANN401 (a number or an attribute)
        if not isinstance(given, Mapping):
            return float(given)
        attributes = self.world.site_attributes if self.whole else self.world.boxes[box].attributes
        number: float | None = attributes.get(given["attribute"], given.get("default"))
        return number

    def _limit(self, node: Definition, box: int, value: float) -> Verdict:
        sign = node["operator"]
        if sign in {"inside", "outside"}:
            low, high = self._number(node["low"], box), self._number(node["high"], box)
            if low is None or high is None:
                return None, None
            margin = node.get("margin", 0)
            if sign == "outside":
                raises = value < low or value > high
                return raises, raises or not low + margin <= value <= high - margin
            return low <= value <= high, not (value < low - margin or value > high + margin)
        threshold = self._number(node["threshold"], box)
        clear = self._number(node.get("clear", node["threshold"]), box)
        if threshold is None or clear is None:
            return None, None
        raises = {
            ">": value > threshold,
            ">=": value >= threshold,
            "<": value < threshold,
            "<=": value <= threshold,
        }[sign]
        cleared = value <= clear if ">" in sign else value >= clear
        return raises, raises or not cleared

    def _window(self, node: Definition, box: int, seen: Sequence[tuple[int, float]], minute: int) -> Verdict:
        window = _length(node["window"])
        inside = [(time, value) for time, value in seen if minute - window < time <= minute]
        value = _come_to(node, inside)
        if value is None:
            return None, None
        verdict = self._limit(node, box, value)
        speaks = False
        if inside:
            span = Fraction(inside[-1][0] - inside[0][0])
            step = span / (len(inside) - 1) if len(inside) > 1 else 0
            speaks = span + step >= window * Fraction(3, 4)
        if "coverage" in node:
            interval = Fraction(self.world.boxes[box].interval_s, 60)
            speaks = speaks and len(inside) * interval / window >= Fraction(node["coverage"]) / 100
        # More values could only make these more so.
        certain = (node["function"] in {"max", "spread", "count"} and node["operator"] in {">", ">="}) or (
            node["function"] == "min" and node["operator"] in {"<", "<="}
        )
        return verdict if speaks or (certain and verdict[0]) else (None, None)


def _come_to(node: Definition, inside: Sequence[tuple[int, float]]) -> float | None:
    values = [value for _, value in inside]
    function = node["function"]
    if function == "count":
        return float(len(values))
    if not values:
        return None
    if function == "rate":
        elapsed = Fraction(inside[-1][0] - inside[0][0], 60)
        return float(Fraction(values[-1] - values[0]) / elapsed) if elapsed else None
    if function == "percentile":
        rank = math.ceil(Fraction(node["percentile"]) * len(values) / 100)
        return sorted(values)[rank - 1]
    simple: dict[str, Callable[[], float]] = {
        "mean": lambda: math.fsum(values) / len(values),
        "sum": lambda: math.fsum(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "spread": lambda: max(values) - min(values),
        "energy_mean": lambda: round(
            10 * math.log10(math.fsum(10 ** (value / 10) for value in values) / len(values)), 6
        ),
    }
    return simple[function]()


class _Level:
    """A level's way: at rest, pending, firing."""

    def __init__(self, definition: Definition) -> None:
        condition = definition["condition"]
        self.node = condition
        self.severity = definition["severity"]
        self.wait = _length(condition.get("for"))
        self.keep = _length(condition.get("keep_firing_for"))
        self.repeat = condition.get("repeat", 1)
        self.rest()

    def rest(self) -> None:
        self.state = "rest"
        self.since = self.count = 0
        self.cleared: int | None = None

    def go(self, verdict: Verdict, minute: int, *, counts: bool) -> None:
        raises, holds = verdict
        if self.state == "firing":
            if holds:
                self.cleared = None
            elif holds is False:
                self.cleared = minute if self.cleared is None else self.cleared
                if minute - self.cleared >= self.keep:
                    self.rest()
        elif raises:
            if self.state == "rest":
                self.state, self.since, self.count = "pending", minute, 1
            elif counts:
                self.count += 1
            if minute - self.since >= self.wait and self.count >= self.repeat:
                self.state = "firing"
        elif raises is False:
            self.rest()


class ReferenceRule:
    """One rule on one box, or on the site as a whole."""

    def __init__(self, number: int, definition: Definition, subject: Subject, world: ReferenceWorld) -> None:
        self.number = number
        self.subject = subject
        self.world = world
        self.active = definition.get("active")
        self.scope = definition.get("scope")
        self.levels = [_Level(level) for level in definition["levels"]]
        leaves = [leaf for level in definition["levels"] for leaf in _leaves(level["condition"])]
        self.places = [
            place
            for level in definition["levels"]
            for place in self._reach(level["condition"], [] if subject is None else [subject])
        ]
        max_age = _length(definition.get("max_age", "PT3600S"))
        self.judge = ReferenceEvaluator(world, max_age, self.scope, whole=subject is None)
        self.timed = any("event" in leaf or "no_data" in leaf for leaf in leaves)
        conditions = [level["condition"] for level in definition["levels"]]
        self.ripens = any("no_data" in leaf for leaf in leaves) or (
            self.timed and any(_has(condition, "not") for condition in conditions)
        )
        self.looked = -1
        self.alert: tuple[int, int, int] | None = None  # level, since, sequence
        self.found: list[ExpectedTransition] = []

    @property
    def resting(self) -> bool:
        return all(level.state == "rest" for level in self.levels)

    def _reach(self, node: Definition, boxes: Sequence[int]) -> Iterator[tuple[Definition, Sequence[int]]]:
        """Each leaf, with the boxes that it is asked of."""
        if "boxes" in node:
            scope = node.get("scope") or self.scope
            boxes = [key for key in self.world.boxes if self.world.takes(scope, key)]
        if "box" in node:
            boxes = [key for key, facts in self.world.boxes.items() if facts.id == node["box"]]
        inner = _inner(node)
        if not inner:
            yield node, boxes
        for part in inner:
            yield from self._reach(part, boxes)

    def touched(self, box: int, metrics: Sequence[str], kind: str | None) -> bool:
        """Whether it looks at any of these, of this box."""
        sent = any(
            leaf["event"] == kind
            if "event" in leaf
            else ("metric" not in leaf and bool(metrics)) or leaf.get("metric") in metrics
            for leaf, _ in self.places
        )
        return sent and any(box in boxes for _, boxes in self.places)

    def catch_up(self, until: int) -> None:
        """All that is due up to a minute, that one included."""
        if self.looked < 0:
            return
        for minute in range(self.looked + 1, until + 1):
            if self._hours_due(minute) or (self.timed and (self._wait_due(minute) or self._part_due(minute))):
                self.look(minute, counts=False)

    def _hours_due(self, minute: int) -> bool:
        on = self.world.active(self.active, minute)
        if not self.resting:
            return not on
        begins = on and not self.world.active(self.active, minute - 1)
        return self.timed and begins and not self.world.active(self.active, self.looked)

    def _wait_due(self, minute: int) -> bool:
        return any(
            (level.state == "pending" and minute == level.since + level.wait)
            or (level.cleared is not None and minute == level.cleared + level.keep)
            for level in self.levels
        )

    def _part_due(self, minute: int) -> bool:
        return (self.ripens or not self.resting) and any(
            self._leaf_due(leaf, box, minute) for leaf, boxes in self.places for box in boxes
        )

    def _leaf_due(self, leaf: Definition, box: int, minute: int) -> bool:
        if "no_data" in leaf:
            last = self.world.newest(box, leaf.get("metric"))
            return last is not None and minute == last + _length(leaf["no_data"])
        window = _length(leaf.get("window", "PT300S"))
        return "event" in leaf and any(
            minute == time + window for time, _ in self.world.events.get((box, leaf["event"]), ())
        )

    def look(self, minute: int, *, counts: bool) -> None:
        """Judge it at a minute; its time does not go back."""
        minute = max(minute, self.looked)
        if self.timed or counts:
            self.looked = minute
        if self.active and not self.resting:
            since = min(level.since for level in self.levels if level.state != "rest")
            end = next(
                (one for one in range(since, minute + 1) if not self.world.active(self.active, one)), None
            )
            if end is not None:
                for level in self.levels:
                    level.rest()
                self._tell(end, "out_of_hours")
        if not self.world.active(self.active, minute):
            return
        verdicts = [self.judge.judge(level.node, self.subject, minute) for level in self.levels]
        for level, verdict in zip(self.levels, verdicts, strict=True):
            level.go(verdict, minute, counts=counts)
        self._tell(minute, "cleared")

    def _tell(self, minute: int, ended: str) -> None:
        firing = [place for place, level in enumerate(self.levels) if level.state == "firing"]
        if self.alert is None:
            if firing:
                since = min(self.levels[place].since for place in firing)
                self._say("firing", minute, "threshold", (firing[-1], since, 1))
            return
        place, since, sequence = self.alert
        if not firing:
            self._say("resolved", minute, ended, (place, since, sequence + 1))
            self.alert = None
        elif firing[-1] != place:
            reason = "escalated" if firing[-1] > place else "deescalated"
            self._say("changed", minute, reason, (firing[-1], since, sequence + 1))

    def _say(self, kind: str, minute: int, reason: str, alert: tuple[int, int, int]) -> None:
        self.alert = alert
        severity = self.levels[alert[0]].severity
        self.found.append(
            ExpectedTransition(kind, self.number, self.subject, minute, severity, reason, alert[1], alert[2])
        )


def reference(
    definitions: Mapping[int, Definition],
    boxes: Sequence[BoxFacts],
    things: Sequence[RuleInput],
    until: int,
    *,
    timezone: str = "UTC",
    site_attributes: Mapping[str, Any] | None = None,
) -> list[ExpectedTransition]:
    """What rules tell of things that come in this order, and then of the time up to `until`."""
    world = ReferenceWorld(boxes, site_attributes, timezone)
    rules = [rule for number, given in definitions.items() for rule in _slow(number, given, world)]
    for thing in things:
        minute = (thing.time_us - START) // MINUTE
        metrics = [
            name
            for name, value in zip(COLUMNS, thing.values or (None,) * len(COLUMNS), strict=True)
            if value is not None and world.values.get((thing.box, name), [(-1, 0.0)])[-1][0] < minute
        ]
        concerned = [rule for rule in rules if rule.subject in {None, thing.box}]
        # An event that no rule on this box asks for is not looked at: it moves no time on either.
        kinds = {leaf["event"] for rule in concerned for leaf, _ in rule.places if "event" in leaf}
        kind = None if thing.event is None else thing.event[0]
        if kind is not None and (
            kind not in kinds or world.events.get((thing.box, kind), [(-1, ())])[-1][0] >= minute
        ):
            kind = None
        if not metrics and kind is None:
            continue
        for rule in concerned:
            rule.catch_up(minute - 1)
        for name in metrics:
            assert thing.values is not None
            value = thing.values[COLUMNS.index(name)]
            assert value is not None
            world.values.setdefault((thing.box, name), []).append((minute, value))
        if kind is not None:
            assert thing.event is not None
            world.events.setdefault((thing.box, kind), []).append((minute, thing.event[1].candidates))
        for rule in concerned:
            if rule.touched(thing.box, metrics, kind):
                rule.look(minute, counts=True)
    for rule in rules:
        rule.catch_up(until)
    return [step for rule in rules for step in rule.found]


def _slow(number: int, definition: Definition, world: ReferenceWorld) -> list[ReferenceRule]:
    conditions = [level["condition"] for level in definition["levels"]]
    if any(_has(condition, key) for condition in conditions for key in ("boxes", "box")):
        return [ReferenceRule(number, definition, None, world)]
    return [
        ReferenceRule(number, definition, box, world)
        for box in world.boxes
        if world.takes(definition.get("scope"), box)
    ]
