from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.mail_quota import HOUR_S, HourlyMailQuota, MailQuotaExceededError

OURS, THEIRS = uuid4(), uuid4()


def send(quota: HourlyMailQuota, now: float, *, to: int = 1, taken: bool = True) -> bool:
    try:
        with quota.reserve(OURS, to, now) as reservation:
            reservation.is_sent = taken
    except MailQuotaExceededError:
        return False
    return True


STEPS = st.lists(st.tuples(st.floats(0, 900), st.integers(1, 9), st.booleans()), max_size=60)


@given(STEPS, st.integers(1, 5))
def test_never_more_recipients_in_any_hour(steps: Sequence[tuple[float, int, bool]], most: int) -> None:
    quota, now = HourlyMailQuota(most), 0.0
    sent: list[tuple[float, int]] = []
    for wait, to, taken in steps:
        now += wait
        # A mail that is too large for any hour takes all of one.
        cost = min(to, most)
        has_room = sum(one for at, one in sent if at > now - HOUR_S) + cost <= most
        assert send(quota, now, to=to, taken=taken) is has_room
        if taken and has_room:
            sent.append((now, cost))


def test_each_recipient_counts_and_it_says_when_enough_of_them_are_an_hour_old() -> None:
    quota = HourlyMailQuota(20)
    assert send(quota, 0.0, to=8)
    assert send(quota, 100.0, to=8)
    with pytest.raises(MailQuotaExceededError) as full, quota.reserve(OURS, 5, 200.0):
        pass
    assert full.value.retry_after_s == HOUR_S - 200.0
    with pytest.raises(MailQuotaExceededError) as more, quota.reserve(OURS, 20, 200.0):
        pass
    assert more.value.retry_after_s == HOUR_S - 100.0
    assert send(quota, 200.0, to=4)
    assert send(quota, HOUR_S, to=5)


def test_it_says_when_there_is_room() -> None:
    quota = HourlyMailQuota(1)
    assert send(quota, 100.0)
    with pytest.raises(MailQuotaExceededError) as full, quota.reserve(OURS, 1, 700.0):
        pass
    assert full.value.retry_after_s == 3000.0
    assert not send(quota, 100.0 + HOUR_S - 0.1)
    assert send(quota, 100.0 + HOUR_S)


def test_what_is_under_way_counts_and_what_failed_does_not() -> None:
    quota = HourlyMailQuota(1)
    with quota.reserve(OURS, 1, 0.0), quota.reserve(THEIRS, 1, 0.0):
        assert not send(quota, 0.0)
    assert send(quota, 1.0)


def test_without_a_limit_nothing_is_kept() -> None:
    quota = HourlyMailQuota(0)
    assert all(send(quota, 0.0) for _ in range(100))
    assert vars(quota) == vars(HourlyMailQuota(0))
