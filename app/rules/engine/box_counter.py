"""How many boxes of a site raise a condition, kept as they change.

A sample of one box is no reason to look at all others again. Pure.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from app.rules.engine.compiled_conditions import CompiledNode
from app.rules.engine.snapshot import NEVER, BoxView
from app.rules.engine.thresholds import ConditionVerdict


class BoxCount(NamedTuple):
    """Of how many boxes an answer is true, and of how many it is not known."""

    sure: int
    unknown: int


class BoxCounter:
    """The verdicts of a condition on each of some boxes.

    Args:
        node: the condition.
        members: box key → its view, of those that are counted.
    """

    def __init__(self, node: CompiledNode, members: Mapping[int, BoxView]) -> None:
        self._node = node
        self._members = members
        self._verdicts: dict[int, ConditionVerdict] = {}
        # When a verdict has to be looked at again though nothing came; what is no longer so is left in it.
        self._until: dict[int, int | None] = {}
        self._ripe: list[tuple[int, int]] = []
        self._counts: dict[tuple[int, bool | None], int] = {}
        self._read = 0
        self._at_us = NEVER
        # The same of what is due: key → when, and by when.
        self._due: dict[int, int | None] = {}
        self._dues: list[tuple[int, int]] = []
        self._due_read = 0
        self._due_after_us = NEVER

    def count(self, moved_keys: Sequence[int], at_us: int) -> tuple[BoxCount, BoxCount]:
        """Count at a time.

        Args:
            moved_keys: keys of the boxes of which something came, since the counter was made, in order.
            at_us: the time; it may go back, at a price.

        Returns:
            The counts of those that raise the condition, and of those that hold it.
        """
        if at_us < self._at_us or not self._verdicts:
            self._begin(at_us)
        else:
            changed = {key for key in moved_keys[self._read :] if key in self._members}
            while self._ripe and self._ripe[0][0] < at_us:
                until, key = heappop(self._ripe)
                if self._until[key] == until:
                    changed.add(key)
            for key in changed:
                self._look(key, at_us)
        self._read = len(moved_keys)
        self._at_us = at_us
        return self._of(0), self._of(1)

    def due(self, moved_keys: Sequence[int], after_us: int) -> int | None:
        """The first time after this one at which the answer of any may be another though nothing comes."""
        if after_us < self._due_after_us or not self._due:
            changed: Collection[int] = self._members
        else:
            changed = {key for key in moved_keys[self._due_read :] if key in self._members}
        for key in changed:
            self._look_ahead(key, after_us)
        self._due_read = len(moved_keys)
        self._due_after_us = after_us
        while self._dues:
            due, key = self._dues[0]
            if self._due[key] == due and due > after_us:
                return due
            heappop(self._dues)
            if self._due[key] == due:
                self._look_ahead(key, after_us)
        return None

    def _look_ahead(self, key: int, after_us: int) -> None:
        due = self._due[key] = self._node.due(self._members[key], after_us)
        if due is not None:
            heappush(self._dues, (due, key))

    def _begin(self, at_us: int) -> None:
        self._verdicts.clear()
        self._counts.clear()
        self._ripe.clear()
        for key in self._members:
            self._look(key, at_us)

    def _look(self, key: int, at_us: int) -> None:
        view = self._members[key]
        verdict = self._node.evaluate(view, at_us)
        before = self._verdicts.get(key)
        if before != verdict:
            for side in (0, 1):
                if before is not None:
                    self._counts[side, before[side]] -= 1
                self._counts[side, verdict[side]] = self._counts.get((side, verdict[side]), 0) + 1
            self._verdicts[key] = verdict
        until = self._node.until(view, at_us)
        self._until[key] = until
        if until is not None:
            heappush(self._ripe, (until, key))

    def _of(self, side: int) -> BoxCount:
        return BoxCount(self._counts.get((side, True), 0), self._counts.get((side, None), 0))
