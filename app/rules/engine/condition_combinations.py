"""Combines the parts of a condition: `all`, `any`, `not`, and counts over the boxes of a site. Pure.

It follows Kleene's three-valued logic. A `not` raises when its part has cleared, and holds until its part
raises: so it keeps a hysteresis band.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.rules.engine.box_and_site_views import BoxFacts, BoxView, CompiledScope, SiteView
from app.rules.engine.box_counter import BoxCount, BoxCounter
from app.rules.engine.condition_leaf_evaluation import CompiledNode, ConditionCause, ConditionView
from app.rules.engine.thresholds import UNKNOWN_VERDICT, ConditionVerdict
from app.rules.engine.value_windows import RuleLookback


def _earliest(nodes: Sequence[CompiledNode], view: ConditionView, after_us: int) -> int | None:
    found = [due for node in nodes if (due := node.due(view, after_us)) is not None]
    return min(found, default=None)


def _all(answers: Sequence[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _not(answer: bool | None) -> bool | None:  # noqa: FBT001 (an answer, not a switch)
    return None if answer is None else not answer


class _Branch:
    """The common base of all nodes that contain nodes."""

    __slots__ = ()
    nodes: tuple[CompiledNode, ...]

    def parts(self) -> Iterator[Any]:
        yield self
        for node in self.nodes:
            yield from node.parts()

    def needs(self) -> RuleLookback:
        return RuleLookback()

    def due(self, view: ConditionView, after_us: int) -> int | None:
        return _earliest(self.nodes, view, after_us)

    def until(self, view: ConditionView, at_us: int) -> int | None:
        found = [until for node in self.nodes if (until := node.until(view, at_us)) is not None]
        return min(found, default=None)

    def cause(self, view: ConditionView, at_us: int) -> ConditionCause:
        for node in self.nodes:
            if node.evaluate(view, at_us)[0]:
                return node.cause(view, at_us)
        return self.nodes[0].cause(view, at_us)


@dataclass(frozen=True, slots=True)
class AllOf(_Branch):
    """Holds if all nodes hold."""

    path: str
    nodes: tuple[CompiledNode, ...]

    def evaluate(self, view: ConditionView, at_us: int) -> ConditionVerdict:
        """Combine by Kleene's conjunction."""
        verdicts = [node.evaluate(view, at_us) for node in self.nodes]
        return _all([raises for raises, _ in verdicts]), _all([holds for _, holds in verdicts])


@dataclass(frozen=True, slots=True)
class AnyOf(_Branch):
    """Holds if at least one node holds."""

    path: str
    nodes: tuple[CompiledNode, ...]

    def evaluate(self, view: ConditionView, at_us: int) -> ConditionVerdict:
        """Combine by Kleene's disjunction."""
        verdicts = [node.evaluate(view, at_us) for node in self.nodes]
        return (
            _not(_all([_not(raises) for raises, _ in verdicts])),
            _not(_all([_not(holds) for _, holds in verdicts])),
        )


@dataclass(frozen=True, slots=True)
class NegatedNode(_Branch):
    """Negates its node: raises when the node has cleared."""

    path: str
    nodes: tuple[CompiledNode, ...]

    def evaluate(self, view: ConditionView, at_us: int) -> ConditionVerdict:
        """Negate both answers and swap them."""
        raises, holds = self.nodes[0].evaluate(view, at_us)
        return _not(holds), _not(raises)


@dataclass(frozen=True, slots=True)
class NamedBoxNode(_Branch):
    """Evaluates a leaf on the box that it names, in a rule on a whole site."""

    path: str
    box: str
    nodes: tuple[CompiledNode, ...]

    def takes(self, box: BoxFacts) -> bool:
        """Return whether it reads a box."""
        return box.id == self.box

    def evaluate(self, view: SiteView, at_us: int) -> ConditionVerdict:
        """Evaluate the leaf on its box; unknown if the site does not have the box."""
        member = view.named(self.box)
        return UNKNOWN_VERDICT if member is None else self.nodes[0].evaluate(member, at_us)

    def due(self, view: SiteView, after_us: int) -> int | None:
        """The due time of its box."""
        member = view.named(self.box)
        return None if member is None else self.nodes[0].due(member, after_us)

    def cause(self, view: SiteView, at_us: int) -> ConditionCause:
        """The cause on its box."""
        member = view.named(self.box)
        if member is None:
            return ConditionCause(None, None, None, None, None, None, self.path, None, ())
        return self.nodes[0].cause(member, at_us)._replace(boxes=(member.facts.key,))


@dataclass(frozen=True, slots=True)
class BoxQuorum(_Branch):
    """Holds if a number or share of the boxes of a site meets a condition."""

    path: str
    nodes: tuple[CompiledNode, ...]
    at_least: int | None = None
    share: float | None = None
    scope: CompiledScope | None = None

    def takes(self, box: BoxFacts) -> bool:
        """Return whether it reads a box."""
        return self.scope is None or self.scope.takes(box)

    def _members(self, view: SiteView) -> list[BoxView]:
        return [member for member in view.members.values() if self.takes(member.facts)]

    def evaluate(self, view: SiteView, at_us: int) -> ConditionVerdict:
        """Compare the counts; unknown as long as unknown boxes could decide."""
        counter, total = self._counter(view)
        raises, holds = counter.count(view.moved_keys, at_us)
        return self._enough(raises, total), self._enough(holds, total)

    def _counter(self, view: SiteView) -> tuple[BoxCounter, int]:
        known: tuple[BoxCounter, int] | None = view.counters.get(id(self))
        if known is None:
            members = {key: member for key, member in view.members.items() if self.takes(member.facts)}
            known = view.counters[id(self)] = BoxCounter(self.nodes[0], members), len(members)
        return known

    def _enough(self, count: BoxCount, total: int) -> bool | None:
        if self._reached(count.sure, total):
            return True
        return None if self._reached(count.sure + count.unknown, total) else False

    def _reached(self, count: int, total: int) -> bool:
        if self.share is not None:
            return count > 0 and 100 * count >= self.share * total
        return count >= (self.at_least or 1)

    def due(self, view: SiteView, after_us: int) -> int | None:
        """The first due time of any box."""
        return self._counter(view)[0].due(view.moved_keys, after_us)

    def cause(self, view: SiteView, at_us: int) -> ConditionCause:
        """The cause on the first box that raises, with the keys of all boxes that do."""
        members = self._members(view)
        raising = [member for member in members if self.nodes[0].evaluate(member, at_us)[0]]
        chosen = next(iter(raising or members), None)
        if chosen is None:
            return ConditionCause(None, None, None, None, None, None, self.path, None, ())
        keys = tuple(member.facts.key for member in raising)
        return self.nodes[0].cause(chosen, at_us)._replace(boxes=keys)
