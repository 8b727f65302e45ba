"""What this process has leased, endpoint by endpoint: waiting for a place, under way, or to be recorded.

Owns whose turn it is. Pure: the time is an argument (`time.monotonic`). Must not know SQL, nor how anything
is sent. Endpoints take turns. What waits here for one that lets an attempt wait for long, or fails, is given
back: what it may have is decided anew when it is claimed.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from app.webhooks.claims import Busy, Lease
from app.webhooks.transport import Claim

SLOW_S: Final = 1.0
"""An endpoint with an attempt that has been under way for longer gets no further place until one ends."""

QUICK_S: Final = 0.25
"""An endpoint that took its last delivery within this time gets more leases than places."""


@dataclass(slots=True)
class Leased:
    """A lease that this process holds, and until when it may be attempted or recorded (monotonic)."""

    lease: Lease
    deadline: float


@dataclass(slots=True)
class _Lane:
    """One endpoint's. `count` is of what is waiting, under way, and not recorded yet."""

    places: int
    suspect: bool
    quick: bool = False
    count: int = 0
    listed: bool = False
    waiting: deque[Leased] = field(default_factory=deque)
    # Lease → when its attempt began, the oldest first.
    running: dict[tuple[UUID, datetime], float] = field(default_factory=dict)

    def slow(self, now: float) -> bool:
        oldest = next(iter(self.running.values()), now)
        return now - oldest > SLOW_S


class Lanes:
    """The leases of a process.

    Args:
        attempt_s: How long an attempt may take, in seconds: with less left of its lease none is begun.
    """

    def __init__(self, attempt_s: float) -> None:
        self._attempt_s = attempt_s
        self._lanes: dict[UUID, _Lane] = {}
        self._turns: deque[UUID] = deque()
        self._back: list[Claim] = []
        self.leased = 0
        self.waiting = 0

    def add(self, leases: Iterable[Lease], deadline: float) -> None:
        """Take in what was claimed."""
        for lease in leases:
            endpoint_id = lease.claimed.endpoint_id
            lane = self._lanes.get(endpoint_id)
            if lane is None:
                lane = self._lanes[endpoint_id] = _Lane(lease.places, lease.suspect)
            lane.places, lane.suspect = lease.places, lease.suspect
            lane.waiting.append(Leased(lease, deadline))
            lane.count += 1
            self.leased += 1
            self.waiting += 1
            self._list(endpoint_id, lane)

    def next(self, now: float) -> Leased | None:
        """Begin the next attempt: the endpoints that have something waiting, and a place, take turns."""
        while self._turns:
            endpoint_id = self._turns.popleft()
            lane = self._lanes.get(endpoint_id)
            if lane is None:
                continue
            lane.listed = False
            if lane.slow(now):
                self._give_back(lane)
            while lane.waiting and len(lane.running) < lane.places:
                leased = lane.waiting.popleft()
                self.waiting -= 1
                if leased.deadline - now < self._attempt_s:
                    self._back.append(leased.lease.claimed)
                    continue
                lane.running[_key(leased.lease.claimed)] = now
                self._list(endpoint_id, lane)
                return leased
        return None

    def ended(self, claimed: Claim, *, delivered: bool, now: float) -> None:
        """An attempt has ended: its place is free, its lease is not yet."""
        lane = self._lanes[claimed.endpoint_id]
        began = lane.running.pop(_key(claimed))
        lane.quick = delivered and now - began <= QUICK_S
        if not delivered:
            lane.suspect = True
            self._give_back(lane)
        self._list(claimed.endpoint_id, lane)

    def settled(self, claims: Iterable[Claim]) -> None:
        """What was recorded, given back, or given up: its lease is no longer ours."""
        for claimed in claims:
            lane = self._lanes[claimed.endpoint_id]
            lane.count -= 1
            self.leased -= 1
            if lane.count == 0:
                del self._lanes[claimed.endpoint_id]

    def take_back(self, now: float, *, everything: bool = False) -> list[Claim]:
        """What is to be given back to the database; `settled` belongs after it."""
        for lane in self._lanes.values():
            if everything or lane.slow(now):
                self._give_back(lane)
            while lane.waiting and lane.waiting[0].deadline - now < self._attempt_s:
                self._back.append(lane.waiting.popleft().lease.claimed)
                self.waiting -= 1
        back, self._back = self._back, []
        return back

    def busy(self, now: float) -> list[Busy]:
        """The endpoints of which something is leased here."""
        return [
            Busy(endpoint_id, lane.count, lane.quick, lane.slow(now))
            for endpoint_id, lane in self._lanes.items()
        ]

    def suspects(self) -> int:
        """How much is leased for endpoints of which the last attempt failed, or none has succeeded yet."""
        return sum(lane.count for lane in self._lanes.values() if lane.suspect)

    def _list(self, endpoint_id: UUID, lane: _Lane) -> None:
        if not lane.listed and lane.waiting and len(lane.running) < lane.places:
            lane.listed = True
            self._turns.append(endpoint_id)

    def _give_back(self, lane: _Lane) -> None:
        self._back.extend(leased.lease.claimed for leased in lane.waiting)
        self.waiting -= len(lane.waiting)
        lane.waiting.clear()


def _key(claimed: Claim) -> tuple[UUID, datetime]:
    return claimed.id, claimed.leased_until
