from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.notifications.delivery.delivery_leases import DeliveryLease, KindCapacity
from app.notifications.delivery.delivery_slots import QUICK_S, SLOW_S, DeliverySlots
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
    endpoint: UUID, count: int, *, places: int = 2, suspect: bool = False, kind: str = "webhook"
) -> list[DeliveryLease]:
    return [DeliveryLease(_claim(endpoint, kind), places, suspect) for _ in range(count)]


def _lanes(places: int = 128, **capacity: int) -> DeliverySlots:
    return DeliverySlots(15, places, capacity)


def _begin(lanes: DeliverySlots, now: float = 0.0) -> list[LeasedDelivery]:
    begun = []
    while (leased := lanes.next(now)) is not None:
        begun.append(leased.lease.claimed)
    return begun


def test_endpoints_take_turns_up_to_their_places() -> None:
    one, other = new_id(), new_id()
    lanes = _lanes()
    lanes.add(_leases(one, 5) + _leases(other, 5, places=1), deadline=30)
    begun = _begin(lanes)
    assert [claimed.endpoint_id for claimed in begun] == [one, other, one]
    assert (lanes.leased, lanes.waiting) == (10, 7)
    lanes.ended(begun[1], delivered=True, now=0.1)
    (again,) = _begin(lanes, 0.1)
    assert again.endpoint_id == other
    # It is counted until it is recorded.
    assert {busy.endpoint_id: busy.leases for busy in lanes.busy(0.1)} == {one: 5, other: 5}
    lanes.settled([begun[1]])
    assert {busy.endpoint_id: busy.leases for busy in lanes.busy(0.1)} == {one: 5, other: 4}


def test_what_waits_for_one_that_hangs_is_given_back() -> None:
    hanging, good = new_id(), new_id()
    lanes = _lanes()
    lanes.add(_leases(hanging, 5), deadline=30)
    begun = _begin(lanes)
    assert not lanes.busy(SLOW_S)[0].held
    later = SLOW_S + 0.1
    assert lanes.busy(later)[0].held
    lanes.add(_leases(good, 1), deadline=30)
    assert [claimed.endpoint_id for claimed in _begin(lanes, later)] == [good]
    back = lanes.take_back(later)
    assert [claimed.endpoint_id for claimed in back] == [hanging] * 3
    lanes.settled(back)
    assert (lanes.leased, lanes.waiting) == (3, 0)
    # One of two has ended: the other lasts still.
    lanes.ended(begun[0], delivered=True, now=later)
    assert {busy.endpoint_id: busy.held for busy in lanes.busy(later)} == {hanging: True, good: False}
    lanes.ended(begun[1], delivered=True, now=later)
    lanes.settled(begun)
    assert [busy.endpoint_id for busy in lanes.busy(later)] == [good]


def test_what_waits_for_one_that_fails_is_given_back() -> None:
    endpoint = new_id()
    lanes = _lanes()
    lanes.add(_leases(endpoint, 5), deadline=30)
    first, _ = _begin(lanes)
    assert lanes.suspects() == 0
    lanes.ended(first, delivered=False, now=0.1)
    assert _begin(lanes, 0.1) == []
    back = lanes.take_back(0.1)
    assert len(back) == 3
    lanes.settled(back)
    lanes.settled([first])
    assert (lanes.suspects(), lanes.leased, lanes.waiting) == (1, 1, 0)
    assert lanes.take_back(0.1) == []


def test_no_attempt_begins_that_its_lease_may_not_outlast() -> None:
    endpoint = new_id()
    lanes = _lanes()
    lanes.add(_leases(endpoint, 2), deadline=30)
    lanes.add(_leases(endpoint, 1), deadline=40)
    assert len(_begin(lanes, 15.1)) == 1
    assert len(lanes.take_back(15.1)) == 2
    lanes.add(_leases(endpoint, 1), deadline=40)
    assert len(lanes.take_back(25.1)) == 1


def test_one_that_answers_soon_is_known_for_it() -> None:
    endpoint = new_id()
    lanes = _lanes()
    lanes.add(_leases(endpoint, 3, places=3), deadline=30)
    soon, late, failed = _begin(lanes)
    lanes.ended(soon, delivered=True, now=QUICK_S / 2)
    assert lanes.busy(0.2)[0].quick
    lanes.ended(late, delivered=True, now=QUICK_S * 2)
    assert not lanes.busy(0.2)[0].quick
    lanes.ended(failed, delivered=False, now=QUICK_S * 2)
    assert not lanes.busy(0.2)[0].quick


def test_everything_can_be_taken_back() -> None:
    lanes = _lanes()
    lanes.add(_leases(new_id(), 3) + _leases(new_id(), 3), deadline=30)
    begun = _begin(lanes)
    assert len(lanes.take_back(0, everything=True)) == 6 - len(begun)
    assert _begin(lanes) == []


def test_a_kind_has_its_capacity_and_others_go_on() -> None:
    channels, hook = [new_id() for _ in range(5)], new_id()
    lanes = _lanes(email=2)
    for channel in channels:
        lanes.add(_leases(channel, 1, kind="email"), deadline=30)
    lanes.add(_leases(hook, 3, places=8), deadline=30)
    begun = _begin(lanes)
    assert sorted(claimed.kind for claimed in begun) == ["email"] * 2 + ["webhook"] * 3
    assert lanes.waiting == 3
    mails = [claimed for claimed in begun if claimed.kind == "email"]
    assert [mail.endpoint_id for mail in mails] == channels[:2]
    lanes.ended(mails[0], delivered=True, now=9)
    assert [claimed.endpoint_id for claimed in _begin(lanes, 9)] == channels[2:3]
    # What waited in vain is given back, and not attempted.
    assert len(lanes.take_back(15.1)) == 2
    lanes.ended(mails[1], delivered=True, now=15.1)
    assert _begin(lanes, 15.1) == []


def test_a_kind_has_room_for_what_it_may_attempt_soon() -> None:
    lanes = _lanes(email=4, mqtt=32)
    assert lanes.room() == [KindCapacity("email", 8), KindCapacity("mqtt", 32 * 2)]
    leases = [lease for _ in range(9) for lease in _leases(new_id(), 1, kind="email", suspect=True)]
    lanes.add(leases, deadline=30)
    assert dict(lanes.room()) == {"email": 0, "mqtt": 64}
    lanes.settled(lanes.take_back(0, everything=True)[:5])
    assert dict(lanes.room()) == {"email": 4, "mqtt": 64}
    # Its bound is this, not the share of those that fail.
    assert lanes.suspects() == 0


def test_a_kind_with_a_capacity_leaves_most_places_to_the_others() -> None:
    lanes = _lanes(8, mqtt=32)
    assert lanes.room() == [KindCapacity("mqtt", 4)]
    for _ in range(4):
        lanes.add(_leases(new_id(), 1, kind="mqtt"), deadline=30)
    assert len(_begin(lanes)) == 2
    # One place is enough for each kind to have one.
    assert _lanes(1, email=4).room() == [KindCapacity("email", 2)]


def test_kinds_take_turns() -> None:
    lanes = _lanes(8, email=4, mqtt=4)
    for kind in ("webhook", "email", "mqtt"):
        lanes.add(_leases(new_id(), 1, kind=kind) + _leases(new_id(), 1, kind=kind), deadline=30)
    kinds = [claimed.kind for claimed in _begin(lanes)]
    assert {*kinds[:3]} == {*kinds[3:]} == {"webhook", "email", "mqtt"}


def test_many_that_hang_leave_places_to_others() -> None:
    hanging = [new_id() for _ in range(20)]
    lanes = _lanes()
    lanes.add([lease for each in hanging for lease in _leases(each, 8, places=8)], deadline=30)
    begun = _begin(lanes)
    assert len(begun) == 96
    others = [new_id() for _ in range(32)]
    for other in others:
        lanes.add(_leases(other, 8, places=8), deadline=30)
    # A quarter is for second places, and half of it for first ones alone.
    late = [claimed.endpoint_id for claimed in _begin(lanes, 0.1)]
    assert late == others
    assert lanes.running == 128
    # The place that gets free is for who has the fewest.
    lanes.add(_leases(new := new_id(), 1), deadline=30)
    lanes.ended(begun[0], delivered=True, now=0.2)
    assert [claimed.endpoint_id for claimed in _begin(lanes, 0.2)] == [new]


def test_some_have_all_their_places() -> None:
    lanes = _lanes()
    ids = [new_id() for _ in range(12)]
    lanes.add([lease for each in ids for lease in _leases(each, 8, places=8)], deadline=30)
    assert len(_begin(lanes)) == 96
    lanes = _lanes(8)
    for _ in range(2):
        lanes.add(_leases(new_id(), 8, places=8), deadline=30)
    assert len(_begin(lanes)) == 6


def test_one_that_has_fewer_under_way_again_is_early_in_its_turn() -> None:
    """Its turn for a further place was of no use as long as few were free: for a first place it is not."""
    lanes = _lanes(8)
    one = new_id()
    lanes.add(_leases(one, 5, places=8), deadline=30)
    lanes.add([lease for _ in range(4) for lease in _leases(new_id(), 1)], deadline=30)
    begun = _begin(lanes)
    assert (lanes.running, lanes.waiting) == (6, 3)
    mine = [claimed for claimed in begun if claimed.endpoint_id == one]
    for claimed in mine:
        lanes.ended(claimed, delivered=True, now=0.1)
    lanes.add([lease for _ in range(9) for lease in _leases(new_id(), 1)], deadline=30)
    assert len(mine) == 2
    assert _begin(lanes, 0.1)[0].endpoint_id == one


def test_an_organisation_has_half_of_the_places_however_many_endpoints_it_has() -> None:
    lanes, owner = _lanes(8), new_id()
    for _ in range(20):
        lanes.add([DeliveryLease(_claim(new_id(), owner=owner), 1, suspect=False)], deadline=30)
    begun = _begin(lanes)
    assert len(begun) == 4
    other = new_id()
    lanes.add(_leases(other, 1), deadline=30)
    assert [claimed.endpoint_id for claimed in _begin(lanes)] == [other]
    # As soon as one of them ends another has its turn: also one whose turn had passed by.
    for claimed in begun:
        lanes.ended(claimed, delivered=True, now=0.1)
        lanes.settled([claimed])
    more = _begin(lanes, 0.1)
    assert len(more) == 4
    assert not {claimed.endpoint_id for claimed in more} & {claimed.endpoint_id for claimed in begun}
