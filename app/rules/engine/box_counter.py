"""Counts the boxes of a site that meet a condition, and updates the counts incrementally. Pure.

A sample of one box does not re-evaluate all other boxes.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from app.rules.engine.box_and_site_views import NEVER, BoxView
from app.rules.engine.condition_leaf_evaluation import CompiledNode
from app.rules.engine.thresholds import ConditionVerdict


class BoxCount(NamedTuple):
    """The numbers of boxes with a true answer and with an unknown one."""

    sure: int
    unknown: int


class BoxCounter:
    """The verdicts of a condition on some boxes, and their counts.

    Args:
        node: the condition.
        members: the view of each counted box, by its key.
    """

    def __init__(self, node: CompiledNode, members: Mapping[int, BoxView]) -> None:
        self._node = node
        self._members = members
        self._verdicts: dict[int, ConditionVerdict] = {}
        # When each verdict expires without a sample. The heap may contain outdated entries.
        self._until: dict[int, int | None] = {}
        self._expiring: list[tuple[int, int]] = []
        self._counts: dict[tuple[int, bool | None], int] = {}
        self._seen_count = 0
        self._at_us = NEVER
        # When each box is due next, and a heap of these times; it may contain outdated entries.
        self._due: dict[int, int | None] = {}
        self._due_heap: list[tuple[int, int]] = []
        self._due_seen_count = 0
        self._due_after_us = NEVER

    def count(self, moved_keys: Sequence[int], at_us: int) -> tuple[BoxCount, BoxCount]:
        """Count the boxes at a time.

        Args:
            moved_keys: the boxes that received a sample or event since the counter was made, in order.
            at_us: the time; going back re-evaluates all boxes.

        Returns:
            The counts of boxes that raise the condition, and of boxes that hold it.
        """
        if at_us < self._at_us or not self._verdicts:
            self._restart(at_us)
        else:
            changed = {key for key in moved_keys[self._seen_count :] if key in self._members}
            while self._expiring and self._expiring[0][0] < at_us:
                until, key = heappop(self._expiring)
                if self._until[key] == until:
                    changed.add(key)
            for key in changed:
                self._update(key, at_us)
        self._seen_count = len(moved_keys)
        self._at_us = at_us
        return self._count_side(0), self._count_side(1)

    def due(self, moved_keys: Sequence[int], after_us: int) -> int | None:
        """Find the first time after `after_us` at which a verdict may change without a sample."""
        if after_us < self._due_after_us or not self._due:
            changed: Collection[int] = self._members
        else:
            changed = {key for key in moved_keys[self._due_seen_count :] if key in self._members}
        for key in changed:
            self._update_due(key, after_us)
        self._due_seen_count = len(moved_keys)
        self._due_after_us = after_us
        while self._due_heap:
            due, key = self._due_heap[0]
            if self._due[key] == due and due > after_us:
                return due
            heappop(self._due_heap)
            if self._due[key] == due:
                self._update_due(key, after_us)
        return None

    def _update_due(self, key: int, after_us: int) -> None:
        due = self._due[key] = self._node.due(self._members[key], after_us)
        if due is not None:
            heappush(self._due_heap, (due, key))

    def _restart(self, at_us: int) -> None:
        self._verdicts.clear()
        self._counts.clear()
        self._expiring.clear()
        for key in self._members:
            self._update(key, at_us)

    def _update(self, key: int, at_us: int) -> None:
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
            heappush(self._expiring, (until, key))

    def _count_side(self, side: int) -> BoxCount:
        return BoxCount(self._counts.get((side, True), 0), self._counts.get((side, None), 0))
