"""Chooses which leased delivery is sent next, fairly between endpoints, their kinds, and organisations.

Pure. The time is an argument (`time.monotonic`). A lease waits for a slot, runs, and stays counted until its
outcome is recorded.

Endpoints are served round-robin, those with the fewest running attempts first. When an attempt of an endpoint
hangs or fails, the endpoint's waiting leases are returned to the database: the next claim decides again what
it may lease.

A kind of endpoint may have a capacity, because all its attempts go through one server. Its leases beyond that
wait without a slot, so other kinds can use it. An organisation gets at most a fraction of the slots, however
many endpoints it has.
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
"""An endpoint with an attempt that runs for longer gets no more slots until one ends."""

QUICK_S: Final = 0.25
"""An endpoint that accepted its last delivery within this time may have more leases than slots."""

_LEASES: Final = 2  # leases per slot of a kind with a capacity: an outcome that is being recorded has one too
_OF_KIND: Final = 4  # such a kind gets at most this fraction (1/4) of all slots
_OF_OWNER: Final = 2  # an organisation gets at most this fraction (1/2) of all slots
# The fractions of all slots that must be free before an endpoint gets its first, its second, and any further
# slot. If many endpoints begin to hang at the same time, the others still get these slots.
_SPARED: Final = (0.0, 1 / 8, 1 / 4)


@dataclass(slots=True)
class HeldLease:
    """A lease of this process, with the monotonic time at which it expires."""

    lease: DeliveryLease
    deadline: float


class _Kind:
    """Counts of a kind of endpoint, and the queues of its endpoints by their number of running attempts."""

    __slots__ = ("capacity", "leased", "queues", "running")

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.leased = 0
        self.running = 0
        self.queues: tuple[OrderedDict[UUID, None], ...] = tuple(OrderedDict() for _ in _SPARED)


@dataclass(slots=True)
class _Owner:
    """Counts of an organisation, and its endpoints that have leases."""

    running: int = 0
    endpoints: set[UUID] = field(default_factory=set)


@dataclass(slots=True)
class _EndpointLeases:
    """The leases of an endpoint. `count` includes waiting ones, running ones, and unrecorded outcomes."""

    kind: _Kind
    owner: _Owner
    concurrency: int
    suspect: bool
    quick: bool = False
    count: int = 0
    # The queue of its kind that it waits in.
    queue: OrderedDict[UUID, None] | None = None
    waiting: deque[HeldLease] = field(default_factory=deque)
    # Lease → start of its attempt, oldest first.
    running: dict[tuple[UUID, datetime], float] = field(default_factory=dict)

    def slow(self, now: float) -> bool:
        oldest = next(iter(self.running.values()), now)
        return now - oldest > SLOW_S


class DeliverySlots:
    """The concurrent attempts of a process, and the leases that wait for them.

    Args:
        attempt_s: The longest attempt, in seconds: no attempt begins if its lease ends sooner.
        slots: The most concurrent attempts.
        capacity: By kind of endpoint, the most concurrent attempts; other kinds may use all slots.
    """

    def __init__(self, attempt_s: float, slots: int, capacity: Mapping[str, int]) -> None:
        self._attempt_s = attempt_s
        self._total_slots = slots
        self._spared = [int(slots * part) for part in _SPARED]
        most = max(1, slots // _OF_KIND)
        self._kinds = {kind: _Kind(min(of_kind, most)) for kind, of_kind in capacity.items()}
        of_owner = max(1, slots // _OF_OWNER)
        # By an endpoint's number of running attempts: the organisation's number that stops its next one.
        self._owner_limits = [of_owner - int(of_owner * part) for part in _SPARED]
        self._owners: dict[UUID, _Owner] = {}
        self._endpoints: dict[UUID, _EndpointLeases] = {}
        self._returned: list[LeasedDelivery] = []
        self.leased = 0
        self.running = 0
        self.waiting = 0
        self.bytes = 0

    def add(self, leases: Iterable[DeliveryLease], deadline: float) -> None:
        """Add new leases, which expire at `deadline` (monotonic)."""
        for lease in leases:
            endpoint_id = lease.claimed.endpoint_id
            endpoint = self._endpoints.get(endpoint_id)
            if endpoint is None:
                kind = self._kinds.setdefault(lease.claimed.kind, _Kind(None))
                owner = self._owners.setdefault(lease.claimed.organisation_id, _Owner())
                owner.endpoints.add(endpoint_id)
                endpoint = self._endpoints[endpoint_id] = _EndpointLeases(
                    kind, owner, lease.concurrency, lease.suspect
                )
            endpoint.concurrency, endpoint.suspect = lease.concurrency, lease.suspect
            endpoint.waiting.append(HeldLease(lease, deadline))
            endpoint.count += 1
            endpoint.kind.leased += 1
            self.leased += 1
            self.bytes += len(lease.claimed.body)
            self.waiting += 1
            self._requeue(endpoint_id, endpoint)

    def begin_next(self, now: float) -> HeldLease | None:
        """Begin the next attempt, round-robin between endpoints with a waiting lease and a free slot."""
        for name, kind in self._kinds.items():
            if kind.capacity is not None and kind.running >= kind.capacity:
                continue
            leased = self._begin_next_of(kind, now)
            if leased is not None:
                # Round-robin between kinds too.
                self._kinds[name] = self._kinds.pop(name)
                return leased
        return None

    def _begin_next_of(self, kind: _Kind, now: float) -> HeldLease | None:
        for queue, spared in zip(kind.queues, self._spared, strict=True):
            while queue and self._total_slots - self.running > spared:
                endpoint_id, _ = queue.popitem(last=False)
                endpoint = self._endpoints[endpoint_id]
                endpoint.queue = None
                leased = self._begin(endpoint, now)
                self._requeue(endpoint_id, endpoint)
                if leased is not None:
                    return leased
        return None

    def _begin(self, endpoint: _EndpointLeases, now: float) -> HeldLease | None:
        if endpoint.slow(now):
            self._return_waiting(endpoint)
        while endpoint.waiting and self._may_run(endpoint):
            leased = endpoint.waiting.popleft()
            self.waiting -= 1
            if leased.deadline - now < self._attempt_s:
                self._returned.append(leased.lease.claimed)
                continue
            endpoint.running[_key(leased.lease.claimed)] = now
            endpoint.kind.running += 1
            endpoint.owner.running += 1
            self.running += 1
            return leased
        return None

    def finish(self, claimed: LeasedDelivery, *, delivered: bool, now: float) -> None:
        """Free the slot of an ended attempt; its lease stays until `release`."""
        endpoint = self._endpoints[claimed.endpoint_id]
        began = endpoint.running.pop(_key(claimed))
        endpoint.kind.running -= 1
        endpoint.owner.running -= 1
        self.running -= 1
        endpoint.quick = delivered and now - began <= QUICK_S
        if not delivered:
            endpoint.suspect = True
            self._return_waiting(endpoint)
        self._requeue(claimed.endpoint_id, endpoint)
        if endpoint.owner.running >= self._owner_limits[-1] - 1:
            # The organisation's other endpoints may have been out of the queues because of its limit.
            for endpoint_id in endpoint.owner.endpoints:
                self._requeue(endpoint_id, self._endpoints[endpoint_id])

    def release(self, claims: Iterable[LeasedDelivery]) -> None:
        """Forget leases that were recorded, returned or given up."""
        for claimed in claims:
            endpoint = self._endpoints[claimed.endpoint_id]
            endpoint.count -= 1
            endpoint.kind.leased -= 1
            self.leased -= 1
            self.bytes -= len(claimed.body)
            if endpoint.count == 0:
                self._requeue(claimed.endpoint_id, endpoint)
                del self._endpoints[claimed.endpoint_id]
                endpoint.owner.endpoints.discard(claimed.endpoint_id)
                if not endpoint.owner.endpoints:
                    del self._owners[claimed.organisation_id]

    def collect_returned(self, now: float, *, everything: bool = False) -> list[LeasedDelivery]:
        """Return the waiting leases to give back to the database; call `release` with them afterwards."""
        for endpoint in self._endpoints.values():
            if everything or endpoint.slow(now):
                self._return_waiting(endpoint)
            while endpoint.waiting and endpoint.waiting[0].deadline - now < self._attempt_s:
                self._returned.append(endpoint.waiting.popleft().lease.claimed)
                self.waiting -= 1
        back, self._returned = self._returned, []
        return back

    def endpoint_loads(self, now: float) -> list[EndpointLoad]:
        """Return the endpoints that have leases here."""
        return [
            EndpointLoad(endpoint_id, endpoint.count, endpoint.quick, endpoint.slow(now))
            for endpoint_id, endpoint in self._endpoints.items()
        ]

    def free_capacities(self) -> list[KindCapacity]:
        """Return how many more leases each kind with a capacity may have."""
        return [
            KindCapacity(name, max(0, kind.capacity * _LEASES - kind.leased))
            for name, kind in self._kinds.items()
            if kind.capacity is not None
        ]

    def count_suspect_leases(self) -> int:
        """Count the leases of suspect endpoints, without the kinds that are limited by their capacity."""
        return sum(
            endpoint.count
            for endpoint in self._endpoints.values()
            if endpoint.suspect and endpoint.kind.capacity is None
        )

    def _requeue(self, endpoint_id: UUID, endpoint: _EndpointLeases) -> None:
        """Move an endpoint to the queue for its number of running attempts; to none if it cannot run."""
        queue = None
        if endpoint.waiting and self._may_run(endpoint):
            queue = endpoint.kind.queues[min(len(endpoint.running), len(_SPARED) - 1)]
        if queue is endpoint.queue:
            return
        if endpoint.queue is not None:
            del endpoint.queue[endpoint_id]
        if queue is not None:
            queue[endpoint_id] = None
        endpoint.queue = queue

    def _may_run(self, endpoint: _EndpointLeases) -> bool:
        running = len(endpoint.running)
        return (
            running < endpoint.concurrency
            and endpoint.owner.running < self._owner_limits[min(running, len(_SPARED) - 1)]
        )

    def _return_waiting(self, endpoint: _EndpointLeases) -> None:
        self._returned.extend(leased.lease.claimed for leased in endpoint.waiting)
        self.waiting -= len(endpoint.waiting)
        endpoint.waiting.clear()


def _key(claimed: LeasedDelivery) -> tuple[UUID, datetime]:
    return claimed.id, claimed.leased_until
