"""Queues HTTP ingest calls, and takes them in groups that are fair to all tenants. Pure.

Tenants take turns: integrators (or organisations without one), and within an integrator its organisations. A
turn costs the estimated time of its call, so that a tenant with large calls gets fewer turns. Calls of one
organisation stay in their order of arrival.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

MOST_CALLS: Final = 256
"""Calls in one group at most."""

MOST_COST_US: Final = 30_000
"""Estimated time of a group at most, unless its first call alone takes longer."""

# CPU time of the API for what a group adds to its own, measured on two cores: an estimate is enough.
_CALL_US: Final = 60
_SAMPLE_US: Final = 8
_CONDITION_US: Final = 5


def estimate_cost_us(things: int, conditions: int) -> int:
    """Estimate the time that a call adds to its group.

    Args:
        things: its samples, events and rejections.
        conditions: condition parts that its rules evaluate.
    """
    return _CALL_US + things * _SAMPLE_US + conditions * _CONDITION_US


class CallSender(NamedTuple):
    """The tenant that sends a call.

    Attributes:
        tree: the integrator of the organisation, or the organisation itself.
        organisation_id: the organisation.
    """

    tree: UUID
    organisation_id: UUID | None


@dataclass(slots=True)
class _Turns:
    """The order in which subjects take turns, by what they have used (start-time fair queueing)."""

    due: list[tuple[int, int, Hashable]] = field(default_factory=list)
    used: dict[Hashable, int] = field(default_factory=dict)
    clock: int = 0
    number: int = 0

    def wait(self, subject: Hashable) -> None:
        """Add a subject that waits: it gets no credit for the time in which it did not wait."""
        self.used[subject] = max(self.used.get(subject, 0), self.clock)
        self.number += 1
        heapq.heappush(self.due, (self.used[subject], self.number, subject))

    def first(self) -> Hashable:
        """Return the subject whose turn it is."""
        return self.due[0][2]

    def end_turn(self, cost: int, *, waits: bool) -> None:
        """End the turn of the first subject; `waits`: it has more calls."""
        self.clock, _, subject = heapq.heappop(self.due)
        self.used[subject] = self.clock + cost
        if waits:
            self.wait(subject)
        elif not self.due:
            self.used.clear()
        elif len(self.used) > 2 * len(self.due) + MOST_CALLS:
            self.used = {each: used for each, used in self.used.items() if used > self.clock}


class FairCallQueue[Call]:
    """The calls that wait for a group."""

    def __init__(self) -> None:
        self._trees = _Turns()
        self._organisations: dict[Hashable, _Turns] = {}
        self._calls: dict[Hashable, deque[tuple[Call, int]]] = {}
        self._length = 0

    def __len__(self) -> int:
        """Return the number of calls."""
        return self._length

    def add(self, sender: CallSender, call: Call, cost: int) -> None:
        """Add a call at the end of its organisation's calls."""
        self._length += 1
        calls = self._calls.get(sender)
        if calls is not None:
            calls.append((call, cost))
            return
        self._calls[sender] = deque([(call, cost)])
        organisations = self._organisations.get(sender.tree)
        if organisations is None:
            organisations = self._organisations[sender.tree] = _Turns()
        if not organisations.due:
            self._trees.wait(sender.tree)
        organisations.wait(sender)

    def take(self, most_calls: int = MOST_CALLS, most_cost: int = MOST_COST_US) -> Sequence[Call]:
        """Take the next group: at least one call if there is any.

        Args:
            most_calls: its calls at most.
            most_cost: its cost at most; the first call may exceed it.
        """
        group: list[Call] = []
        left = most_cost
        while self._length and len(group) < most_calls:
            organisations = self._organisations[self._trees.first()]
            calls = self._calls[organisations.first()]
            call, cost = calls[0]
            if group and cost > left:
                break
            calls.popleft()
            self._end_turn(organisations, cost, waits=bool(calls))
            group.append(call)
            left -= cost
        return group

    def _end_turn(self, organisations: _Turns, cost: int, *, waits: bool) -> None:
        self._length -= 1
        if not waits:
            del self._calls[organisations.first()]
        organisations.end_turn(cost, waits=waits)
        tree = self._trees.first()
        self._trees.end_turn(cost, waits=bool(organisations.due))
        if not organisations.due:
            del self._organisations[tree]
