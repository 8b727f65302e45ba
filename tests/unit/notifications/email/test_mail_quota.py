from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.mail_quota import HOUR_S, HourlyMailQuota, MailQuotaExceededError

OURS, THEIRS = uuid4(), uuid4()


def send(quota: HourlyMailQuota, now: float, *, taken: bool = True) -> bool:
    try:
        with quota.reserve(OURS, now) as reservation:
            reservation.is_sent = taken
    except MailQuotaExceededError:
        return False
    return True


@given(st.lists(st.tuples(st.floats(0, 900), st.booleans()), max_size=60), st.integers(1, 5))
def test_never_more_in_any_hour(steps: Sequence[tuple[float, bool]], most: int) -> None:
    quota, now = HourlyMailQuota(most), 0.0
    sent: list[float] = []
    for wait, taken in steps:
        now += wait
        recent = sum(at > now - HOUR_S for at in sent)
        assert send(quota, now, taken=taken) is (recent < most)
        if taken and recent < most:
            sent.append(now)


def test_it_says_when_there_is_room() -> None:
    quota = HourlyMailQuota(1)
    assert send(quota, 100.0)
    with pytest.raises(MailQuotaExceededError) as full, quota.reserve(OURS, 700.0):
        pass
    assert full.value.retry_after_s == 3000.0
    assert not send(quota, 100.0 + HOUR_S - 0.1)
    assert send(quota, 100.0 + HOUR_S)


def test_what_is_under_way_counts_and_what_failed_does_not() -> None:
    quota = HourlyMailQuota(1)
    with quota.reserve(OURS, 0.0), quota.reserve(THEIRS, 0.0):
        assert not send(quota, 0.0)
    assert send(quota, 1.0)


def test_without_a_limit_nothing_is_kept() -> None:
    quota = HourlyMailQuota(0)
    assert all(send(quota, 0.0) for _ in range(100))
    assert vars(quota) == vars(HourlyMailQuota(0))
