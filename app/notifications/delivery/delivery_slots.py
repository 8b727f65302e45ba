"""What this process has leased, endpoint by endpoint: waiting for a place, under way, or to be recorded.

Owns whose turn it is. Pure: the time is an argument (`time.monotonic`). Must not know SQL, nor how anything
is sent. Endpoints take turns, those with the fewest attempts under way first. What waits here for one that
lets an attempt wait for long, or fails, is given back: what it may have is decided anew when it is claimed.

A kind of endpoint may have a capacity: all of it goes through one server, which takes few at once. What is
beyond it waits here, and holds no place that other kinds could use. Nor does one organisation hold more than
its part of the places, however many endpoints it has.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from app.notifications.delivery.delivery_leases import DeliveryLease, EndpointLoad, KindCapacity
from app.notifications.delivery.transport_types import LeasedDelivery

SLOW_S: Final = 1.0
"""An endpoint with an attempt that has been under way for longer gets no further place until one ends."""

QUICK_S: Final = 0.25
"""An endpoint that took its last delivery within this time gets more leases than places."""

_LEASES: Final = 2  # for each place of a kind with a capacity: what is being recorded has a lease too
_OF_KIND: Final = 4  # such a kind has a part of all places at most: one in so many
_OF_OWNER: Final = 2  # an organisation has a part of all places at most: one in so many
# Parts of all places that must be free before an endpoint gets its second place, and its third and any
# further one. Many that begin to hang in the same moment leave these to the others.
_SPARED: Final = (0.0, 1 / 8, 1 / 4)


@dataclass(slots=True)
class HeldLease:
    """A lease that this process holds, and until when it may be attempted or recorded (monotonic)."""

    lease: DeliveryLease
    deadline: float


class _Kind:
    """What the endpoints of a kind have together; `turns` by how many attempts they have under way."""

    __slots__ = ("capacity", "leased", "running", "turns")

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.leased = 0
        self.running = 0
        self.turns: tuple[OrderedDict[UUID, None], ...] = tuple(OrderedDict() for _ in _SPARED)


@dataclass(slots=True)
class _Owner:
    """What the endpoints of an organisation have together."""

    running: int = 0
    lanes: set[UUID] = field(default_factory=set)


@dataclass(slots=True)
class _Lane:
    """One endpoint's. `count` is of what is waiting, under way, and not recorded yet."""

    kind: _Kind
    owner: _Owner
    places: int
    suspect: bool
    quick: bool = False
    count: int = 0
    # Which of its kind's turns it waits in.
    listed: OrderedDict[UUID, None] | None = None
    waiting: deque[HeldLease] = field(default_factory=deque)
    # Lease → when its attempt began, the oldest first.
    running: dict[tuple[UUID, datetime], float] = field(default_factory=dict)

    def slow(self, now: float) -> bool:
        oldest = next(iter(self.running.values()), now)
        return now - oldest > SLOW_S


class DeliverySlots:
    """The leases of a process.

    Args:
        attempt_s: How long an attempt may take, in seconds: with less left of its lease none is begun.
        places: How many attempts may be under way at once.
        capacity: By kind of endpoint, how many of these for it; a kind that is not in it may have all.
    """

    def __init__(self, attempt_s: float, places: int, capacity: Mapping[str, int]) -> None:
        self._attempt_s = attempt_s
        self._places = places
        self._spared = [int(places * part) for part in _SPARED]
        most = max(1, places // _OF_KIND)
        self._kinds = {kind: _Kind(min(of_kind, most)) for kind, of_kind in capacity.items()}
        of_owner = max(1, places // _OF_OWNER)
        # By how many attempts an endpoint has under way: with so many its organisation has enough.
        self._enough = [of_owner - int(of_owner * part) for part in _SPARED]
        self._owners: dict[UUID, _Owner] = {}
        self._lanes: dict[UUID, _Lane] = {}
        self._back: list[LeasedDelivery] = []
        self.leased = 0
        self.running = 0
        self.waiting = 0
        self.bytes = 0

    def add(self, leases: Iterable[DeliveryLease], deadline: float) -> None:
        """Take in what was claimed."""
        for lease in leases:
            endpoint_id = lease.claimed.endpoint_id
            lane = self._lanes.get(endpoint_id)
            if lane is None:
                kind = self._kinds.setdefault(lease.claimed.kind, _Kind(None))
                owner = self._owners.setdefault(lease.claimed.organisation_id, _Owner())
                owner.lanes.add(endpoint_id)
                lane = self._lanes[endpoint_id] = _Lane(kind, owner, lease.places, lease.suspect)
            lane.places, lane.suspect = lease.places, lease.suspect
            lane.waiting.append(HeldLease(lease, deadline))
            lane.count += 1
            lane.kind.leased += 1
            self.leased += 1
            self.bytes += len(lease.claimed.body)
            self.waiting += 1
            self._list(endpoint_id, lane)

    def next(self, now: float) -> HeldLease | None:
        """Begin the next attempt: the endpoints that have something waiting, and a place, take turns."""
        for name, kind in self._kinds.items():
            if kind.capacity is not None and kind.running >= kind.capacity:
                continue
            leased = self._next_of(kind, now)
            if leased is not None:
                # Kinds take turns too.
                self._kinds[name] = self._kinds.pop(name)
                return leased
        return None

    def _next_of(self, kind: _Kind, now: float) -> HeldLease | None:
        for turns, spared in zip(kind.turns, self._spared, strict=True):
            while turns and self._places - self.running > spared:
                endpoint_id, _ = turns.popitem(last=False)
                lane = self._lanes[endpoint_id]
                lane.listed = None
                leased = self._begin(lane, now)
                self._list(endpoint_id, lane)
                if leased is not None:
                    return leased
        return None

    def _begin(self, lane: _Lane, now: float) -> HeldLease | None:
        if lane.slow(now):
            self._give_back(lane)
        while lane.waiting and self._has_room(lane):
            leased = lane.waiting.popleft()
            self.waiting -= 1
            if leased.deadline - now < self._attempt_s:
                self._back.append(leased.lease.claimed)
                continue
            lane.running[_key(leased.lease.claimed)] = now
            lane.kind.running += 1
            lane.owner.running += 1
            self.running += 1
            return leased
        return None

    def ended(self, claimed: LeasedDelivery, *, delivered: bool, now: float) -> None:
        """An attempt has ended: its place is free, its lease is not yet."""
        lane = self._lanes[claimed.endpoint_id]
        began = lane.running.pop(_key(claimed))
        lane.kind.running -= 1
        lane.owner.running -= 1
        self.running -= 1
        lane.quick = delivered and now - began <= QUICK_S
        if not delivered:
            lane.suspect = True
            self._give_back(lane)
        self._list(claimed.endpoint_id, lane)
        if lane.owner.running >= self._enough[-1] - 1:
            # Others may not have had their turn while the organisation had enough under way.
            for endpoint_id in lane.owner.lanes:
                self._list(endpoint_id, self._lanes[endpoint_id])

    def settled(self, claims: Iterable[LeasedDelivery]) -> None:
        """What was recorded, given back, or given up: its lease is no longer ours."""
        for claimed in claims:
            lane = self._lanes[claimed.endpoint_id]
            lane.count -= 1
            lane.kind.leased -= 1
            self.leased -= 1
            self.bytes -= len(claimed.body)
            if lane.count == 0:
                self._list(claimed.endpoint_id, lane)
                del self._lanes[claimed.endpoint_id]
                lane.owner.lanes.discard(claimed.endpoint_id)
                if not lane.owner.lanes:
                    del self._owners[claimed.organisation_id]

    def take_back(self, now: float, *, everything: bool = False) -> list[LeasedDelivery]:
        """What is to be given back to the database; `settled` belongs after it."""
        for lane in self._lanes.values():
            if everything or lane.slow(now):
                self._give_back(lane)
            while lane.waiting and lane.waiting[0].deadline - now < self._attempt_s:
                self._back.append(lane.waiting.popleft().lease.claimed)
                self.waiting -= 1
        back, self._back = self._back, []
        return back

    def busy(self, now: float) -> list[EndpointLoad]:
        """The endpoints of which something is leased here."""
        return [
            EndpointLoad(endpoint_id, lane.count, lane.quick, lane.slow(now))
            for endpoint_id, lane in self._lanes.items()
        ]

    def room(self) -> list[KindCapacity]:
        """How much more may be leased of each kind that has a capacity."""
        return [
            KindCapacity(name, max(0, kind.capacity * _LEASES - kind.leased))
            for name, kind in self._kinds.items()
            if kind.capacity is not None
        ]

    def suspects(self) -> int:
        """How much is leased for endpoints of which the last attempt failed, or none has succeeded yet.

        Without the kinds that have a capacity: that is their bound.
        """
        return sum(lane.count for lane in self._lanes.values() if lane.suspect and lane.kind.capacity is None)

    def _list(self, endpoint_id: UUID, lane: _Lane) -> None:
        """Put a lane where its turn is to come; out of it where nothing waits, or it has no place."""
        turns = None
        if lane.waiting and self._has_room(lane):
            turns = lane.kind.turns[min(len(lane.running), len(_SPARED) - 1)]
        if turns is lane.listed:
            return
        if lane.listed is not None:
            del lane.listed[endpoint_id]
        if turns is not None:
            turns[endpoint_id] = None
        lane.listed = turns

    def _has_room(self, lane: _Lane) -> bool:
        running = len(lane.running)
        return running < lane.places and lane.owner.running < self._enough[min(running, len(_SPARED) - 1)]

    def _give_back(self, lane: _Lane) -> None:
        self._back.extend(leased.lease.claimed for leased in lane.waiting)
        self.waiting -= len(lane.waiting)
        lane.waiting.clear()


def _key(claimed: LeasedDelivery) -> tuple[UUID, datetime]:
    return claimed.id, claimed.leased_until
