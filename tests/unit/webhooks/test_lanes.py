from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.core.ids import new_id
from app.webhooks.claims import Lease
from app.webhooks.lanes import QUICK_S, SLOW_S, Lanes
from app.webhooks.transport import Claim

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)


def _claim(endpoint: UUID) -> Claim:
    return Claim(
        id=new_id(),
        organisation_id=endpoint,
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
        kind="webhook",
        url="https://example.com/",
        target=None,
        secret="whsec_",
        former_secrets=[],
        headers=None,
    )


def _leases(endpoint: UUID, count: int, *, places: int = 2, suspect: bool = False) -> list[Lease]:
    return [Lease(_claim(endpoint), places, suspect) for _ in range(count)]


def _begin(lanes: Lanes, now: float = 0.0) -> list[Claim]:
    begun = []
    while (leased := lanes.next(now)) is not None:
        begun.append(leased.lease.claimed)
    return begun


def test_endpoints_take_turns_up_to_their_places() -> None:
    one, other = new_id(), new_id()
    lanes = Lanes(attempt_s=15)
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
    lanes = Lanes(attempt_s=15)
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
    lanes = Lanes(attempt_s=15)
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
    lanes = Lanes(attempt_s=15)
    lanes.add(_leases(endpoint, 2), deadline=30)
    lanes.add(_leases(endpoint, 1), deadline=40)
    assert len(_begin(lanes, 15.1)) == 1
    assert len(lanes.take_back(15.1)) == 2
    lanes.add(_leases(endpoint, 1), deadline=40)
    assert len(lanes.take_back(25.1)) == 1


def test_one_that_answers_soon_is_known_for_it() -> None:
    endpoint = new_id()
    lanes = Lanes(attempt_s=15)
    lanes.add(_leases(endpoint, 3, places=3), deadline=30)
    soon, late, failed = _begin(lanes)
    lanes.ended(soon, delivered=True, now=QUICK_S / 2)
    assert lanes.busy(0.2)[0].quick
    lanes.ended(late, delivered=True, now=QUICK_S * 2)
    assert not lanes.busy(0.2)[0].quick
    lanes.ended(failed, delivered=False, now=QUICK_S * 2)
    assert not lanes.busy(0.2)[0].quick


def test_everything_can_be_taken_back() -> None:
    lanes = Lanes(attempt_s=15)
    lanes.add(_leases(new_id(), 3) + _leases(new_id(), 3), deadline=30)
    begun = _begin(lanes)
    assert len(lanes.take_back(0, everything=True)) == 6 - len(begun)
    assert _begin(lanes) == []
