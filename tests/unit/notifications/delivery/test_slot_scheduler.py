from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.notifications.delivery.delivery_leases import DeliveryLease, KindCapacity
from app.notifications.delivery.slot_scheduler import QUICK_S, SLOW_S, DeliverySlots
from app.notifications.delivery.transport_types import LeasedDelivery
from app.platform.kernel.ids import new_id

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)


def _claim(endpoint: UUID, kind: str = "webhook", owner: UUID | None = None) -> LeasedDelivery:
    return LeasedDelivery(
        id=new_id(),
        organisation_id=owner or endpoint,
        endpoint_id=endpoint,
        event_id=new_id(),
        site_id=None,
        type="alert.firing",
        format="native",
        body=b"{}",
        attempt_count=0,
        created_at=NOW,
        leased_until=NOW + timedelta(seconds=30),
        now=NOW,
        kind=kind,
        url="https://example.com/",
        target=None,
        secret="whsec_",
        former_secrets=[],
        headers=None,
    )


def _leases(
    endpoint: UUID, count: int, *, concurrency: int = 2, suspect: bool = False, kind: str = "webhook"
) -> list[DeliveryLease]:
    return [DeliveryLease(_claim(endpoint, kind), concurrency, suspect) for _ in range(count)]


def _make_slots(total: int = 128, **capacity: int) -> DeliverySlots:
    return DeliverySlots(15, total, capacity)


def _begin(slots: DeliverySlots, now: float = 0.0) -> list[LeasedDelivery]:
    begun = []
    while (leased := slots.begin_next(now)) is not None:
        begun.append(leased.lease.claimed)
    return begun


def test_endpoints_take_turns_up_to_their_places() -> None:
    one, other = new_id(), new_id()
    slots = _make_slots()
    slots.add(_leases(one, 5) + _leases(other, 5, concurrency=1), deadline=30)
    begun = _begin(slots)
    assert [claimed.endpoint_id for claimed in begun] == [one, other, one]
    assert (slots.leased, slots.waiting) == (10, 7)
    slots.finish(begun[1], delivered=True, now=0.1)
    (again,) = _begin(slots, 0.1)
    assert again.endpoint_id == other
    # It is counted until it is recorded.
    assert {busy.endpoint_id: busy.leases for busy in slots.endpoint_loads(0.1)} == {one: 5, other: 5}
    slots.release([begun[1]])
    assert {busy.endpoint_id: busy.leases for busy in slots.endpoint_loads(0.1)} == {one: 5, other: 4}


def test_what_waits_for_one_that_hangs_is_given_back() -> None:
    hanging, good = new_id(), new_id()
    slots = _make_slots()
    slots.add(_leases(hanging, 5), deadline=30)
    begun = _begin(slots)
    assert not slots.endpoint_loads(SLOW_S)[0].held
    later = SLOW_S + 0.1
    assert slots.endpoint_loads(later)[0].held
    slots.add(_leases(good, 1), deadline=30)
    assert [claimed.endpoint_id for claimed in _begin(slots, later)] == [good]
    back = slots.collect_returned(later)
    assert [claimed.endpoint_id for claimed in back] == [hanging] * 3
    slots.release(back)
    assert (slots.leased, slots.waiting) == (3, 0)
    # One of two has ended: the other lasts still.
    slots.finish(begun[0], delivered=True, now=later)
    assert {busy.endpoint_id: busy.held for busy in slots.endpoint_loads(later)} == {
        hanging: True,
        good: False,
    }
    slots.finish(begun[1], delivered=True, now=later)
    slots.release(begun)
    assert [busy.endpoint_id for busy in slots.endpoint_loads(later)] == [good]


def test_what_waits_for_one_that_fails_is_given_back() -> None:
    endpoint = new_id()
    slots = _make_slots()
    slots.add(_leases(endpoint, 5), deadline=30)
    first, _ = _begin(slots)
    assert slots.count_suspect_leases() == 0
    slots.finish(first, delivered=False, now=0.1)
    assert _begin(slots, 0.1) == []
    back = slots.collect_returned(0.1)
    assert len(back) == 3
    slots.release(back)
    slots.release([first])
    assert (slots.count_suspect_leases(), slots.leased, slots.waiting) == (1, 1, 0)
    assert slots.collect_returned(0.1) == []


def test_no_attempt_begins_that_its_lease_may_not_outlast() -> None:
    endpoint = new_id()
    slots = _make_slots()
    slots.add(_leases(endpoint, 2), deadline=30)
    slots.add(_leases(endpoint, 1), deadline=40)
    assert len(_begin(slots, 15.1)) == 1
    assert len(slots.collect_returned(15.1)) == 2
    slots.add(_leases(endpoint, 1), deadline=40)
    assert len(slots.collect_returned(25.1)) == 1


def test_one_that_answers_soon_is_known_for_it() -> None:
    endpoint = new_id()
    slots = _make_slots()
    slots.add(_leases(endpoint, 3, concurrency=3), deadline=30)
    soon, late, failed = _begin(slots)
    slots.finish(soon, delivered=True, now=QUICK_S / 2)
    assert slots.endpoint_loads(0.2)[0].quick
    slots.finish(late, delivered=True, now=QUICK_S * 2)
    assert not slots.endpoint_loads(0.2)[0].quick
    slots.finish(failed, delivered=False, now=QUICK_S * 2)
    assert not slots.endpoint_loads(0.2)[0].quick


def test_everything_can_be_taken_back() -> None:
    slots = _make_slots()
    slots.add(_leases(new_id(), 3) + _leases(new_id(), 3), deadline=30)
    begun = _begin(slots)
    assert len(slots.collect_returned(0, everything=True)) == 6 - len(begun)
    assert _begin(slots) == []


def test_a_kind_has_its_capacity_and_others_go_on() -> None:
    channels, hook = [new_id() for _ in range(5)], new_id()
    slots = _make_slots(email=2)
    for channel in channels:
        slots.add(_leases(channel, 1, kind="email"), deadline=30)
    slots.add(_leases(hook, 3, concurrency=8), deadline=30)
    begun = _begin(slots)
    assert sorted(claimed.kind for claimed in begun) == ["email"] * 2 + ["webhook"] * 3
    assert slots.waiting == 3
    mails = [claimed for claimed in begun if claimed.kind == "email"]
    assert [mail.endpoint_id for mail in mails] == channels[:2]
    slots.finish(mails[0], delivered=True, now=9)
    assert [claimed.endpoint_id for claimed in _begin(slots, 9)] == channels[2:3]
    # What waited in vain is given back, and not attempted.
    assert len(slots.collect_returned(15.1)) == 2
    slots.finish(mails[1], delivered=True, now=15.1)
    assert _begin(slots, 15.1) == []


def test_a_kind_has_room_for_what_it_may_attempt_soon() -> None:
    slots = _make_slots(email=4, mqtt=32)
    assert slots.free_capacities() == [KindCapacity("email", 8), KindCapacity("mqtt", 32 * 2)]
    leases = [lease for _ in range(9) for lease in _leases(new_id(), 1, kind="email", suspect=True)]
    slots.add(leases, deadline=30)
    assert dict(slots.free_capacities()) == {"email": 0, "mqtt": 64}
    slots.release(slots.collect_returned(0, everything=True)[:5])
    assert dict(slots.free_capacities()) == {"email": 4, "mqtt": 64}
    # Its bound is this, not the share of those that fail.
    assert slots.count_suspect_leases() == 0


def test_a_kind_with_a_capacity_leaves_most_places_to_the_others() -> None:
    slots = _make_slots(8, mqtt=32)
    assert slots.free_capacities() == [KindCapacity("mqtt", 4)]
    for _ in range(4):
        slots.add(_leases(new_id(), 1, kind="mqtt"), deadline=30)
    assert len(_begin(slots)) == 2
    # One place is enough for each kind to have one.
    assert _make_slots(1, email=4).free_capacities() == [KindCapacity("email", 2)]


def test_kinds_take_turns() -> None:
    slots = _make_slots(8, email=4, mqtt=4)
    for kind in ("webhook", "email", "mqtt"):
        slots.add(_leases(new_id(), 1, kind=kind) + _leases(new_id(), 1, kind=kind), deadline=30)
    kinds = [claimed.kind for claimed in _begin(slots)]
    assert {*kinds[:3]} == {*kinds[3:]} == {"webhook", "email", "mqtt"}


def test_many_that_hang_leave_places_to_others() -> None:
    hanging = [new_id() for _ in range(20)]
    slots = _make_slots()
    slots.add([lease for each in hanging for lease in _leases(each, 8, concurrency=8)], deadline=30)
    begun = _begin(slots)
    assert len(begun) == 96
    others = [new_id() for _ in range(32)]
    for other in others:
        slots.add(_leases(other, 8, concurrency=8), deadline=30)
    # A quarter is for second slots, and half of it for first ones alone.
    late = [claimed.endpoint_id for claimed in _begin(slots, 0.1)]
    assert late == others
    assert slots.running == 128
    # The place that gets free is for who has the fewest.
    slots.add(_leases(new := new_id(), 1), deadline=30)
    slots.finish(begun[0], delivered=True, now=0.2)
    assert [claimed.endpoint_id for claimed in _begin(slots, 0.2)] == [new]


def test_some_have_all_their_places() -> None:
    slots = _make_slots()
    ids = [new_id() for _ in range(12)]
    slots.add([lease for each in ids for lease in _leases(each, 8, concurrency=8)], deadline=30)
    assert len(_begin(slots)) == 96
    slots = _make_slots(8)
    for _ in range(2):
        slots.add(_leases(new_id(), 8, concurrency=8), deadline=30)
    assert len(_begin(slots)) == 6


def test_one_that_has_fewer_under_way_again_is_early_in_its_turn() -> None:
    """Its turn for a further place was of no use as long as few were free: for a first place it is not."""
    slots = _make_slots(8)
    one = new_id()
    slots.add(_leases(one, 5, concurrency=8), deadline=30)
    slots.add([lease for _ in range(4) for lease in _leases(new_id(), 1)], deadline=30)
    begun = _begin(slots)
    assert (slots.running, slots.waiting) == (6, 3)
    mine = [claimed for claimed in begun if claimed.endpoint_id == one]
    for claimed in mine:
        slots.finish(claimed, delivered=True, now=0.1)
    slots.add([lease for _ in range(9) for lease in _leases(new_id(), 1)], deadline=30)
    assert len(mine) == 2
    assert _begin(slots, 0.1)[0].endpoint_id == one


def test_an_organisation_has_half_of_the_places_however_many_endpoints_it_has() -> None:
    slots, owner = _make_slots(8), new_id()
    for _ in range(20):
        slots.add([DeliveryLease(_claim(new_id(), owner=owner), 1, suspect=False)], deadline=30)
    begun = _begin(slots)
    assert len(begun) == 4
    other = new_id()
    slots.add(_leases(other, 1), deadline=30)
    assert [claimed.endpoint_id for claimed in _begin(slots)] == [other]
    # As soon as one of them ends another has its turn: also one whose turn had passed by.
    for claimed in begun:
        slots.finish(claimed, delivered=True, now=0.1)
        slots.release([claimed])
    more = _begin(slots, 0.1)
    assert len(more) == 4
    assert not {claimed.endpoint_id for claimed in more} & {claimed.endpoint_id for claimed in begun}
