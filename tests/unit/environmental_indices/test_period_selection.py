"""Periods: the last one that is over, and those that begin in a stretch of time."""

from datetime import date, time
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.environmental_indices.period_selection import (
    MIN_LENGTH_US,
    DatedPeriod,
    PeriodLength,
    TimePeriod,
    find_last_complete_period,
    periods_ending_in,
    periods_starting_in,
)
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import us

PARIS = ZoneInfo("Europe/Paris")
LENGTHS: tuple[PeriodLength, ...] = ("hour", "day", "week", "weeks", "month", "year")


@pytest.mark.parametrize(
    ("length", "at", "start", "end"),
    [
        ("hour", "2026-03-29T01:00", "2026-03-29T00:00", "2026-03-29T01:00"),
        ("hour", "2026-03-29T00:59", "2026-03-28T23:00", "2026-03-29T00:00"),
        # Midnight of the 30th is two hours before that of UTC, of the 29th one.
        ("day", "2026-03-29T22:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "2026-03-29T21:59", "2026-03-27T23:00", "2026-03-28T23:00"),
        ("week", "2026-03-30T12:00", "2026-03-22T23:00", "2026-03-29T22:00"),
        ("weeks", "2026-03-30T12:00", "2026-03-01T23:00", "2026-03-29T22:00"),
        ("month", "2026-03-31T21:59", "2026-01-31T23:00", "2026-02-28T23:00"),
        ("month", "2026-03-31T22:00", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("year", "2026-12-31T23:00", "2025-12-31T23:00", "2026-12-31T23:00"),
        ("year", "2026-12-31T22:59", "2024-12-31T23:00", "2025-12-31T23:00"),
    ],
)
def test_the_last_period_ended_at_the_latest_now(length: PeriodLength, at: str, start: str, end: str) -> None:
    assert find_last_complete_period(length, us(at), PARIS).period == TimePeriod(us(start), us(end))


def test_a_day_may_begin_at_another_time_than_midnight() -> None:
    of = [
        find_last_complete_period("day", us(at), PARIS, time(6))
        for at in ("2026-03-29T03:59", "2026-03-29T04:00")
    ]
    assert [slot.first for slot in of] == [date(2026, 3, 27), date(2026, 3, 28)]
    # The night in which the clocks go forward is an hour shorter.
    assert [(slot.period.end_us - slot.period.start_us) // HOUR_US for slot in of] == [24, 23]


@pytest.mark.parametrize("length", LENGTHS)
def test_periods_follow_each_other_and_begin_in_the_range(length: PeriodLength) -> None:
    span = TimePeriod(us("2024-02-10T11:30"), us("2026-04-02T00:00"))
    if length == "hour":
        span = TimePeriod(us("2026-03-28T11:30"), us("2026-03-29T09:30"))
    found = list(periods_starting_in(length, span, PARIS))
    assert len(found) > 1
    for slot, following in pairwise(found):
        assert slot.period.end_us == following.period.start_us
    starts = [slot.period.start_us for slot in found]
    assert span.start_us <= starts[0] < found[0].period.end_us - found[0].period.start_us + span.start_us
    assert starts[-1] < span.end_us <= found[-1].period.end_us
    # What a range is measured by is never more than a period really is.
    assert min(slot.period.end_us - slot.period.start_us for slot in found) >= MIN_LENGTH_US[length]


def test_weeks_begin_on_mondays_and_months_on_their_first() -> None:
    span = TimePeriod(us("2026-01-01T00:00"), us("2026-06-01T00:00"))

    def of(length: PeriodLength) -> list[DatedPeriod]:
        return list(periods_starting_in(length, span, PARIS))

    assert {slot.first.weekday() for slot in of("week")} == {0}
    assert {(slot.last - slot.first).days for slot in of("weeks")} == {27}
    assert [(slot.first.day, slot.last.day) for slot in of("month")][:2] == [(1, 28), (1, 31)]
    assert [slot.first for slot in of("year")] == []


def test_a_range_that_is_over_before_it_begins_has_none() -> None:
    assert [list(periods_starting_in(length, TimePeriod(10**15, 10**14), PARIS)) for length in LENGTHS] == [
        []
    ] * len(LENGTHS)


@given(
    length=st.sampled_from(LENGTHS),
    first=st.integers(0, 24 * 500),
    hours=st.integers(0, 24 * 90),
    zone=st.sampled_from(["Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York", "UTC"]),
    begin=st.sampled_from([time(), time(6)]),
)
def test_what_ends_in_a_range_is_what_is_newest_at_each_time_of_it(
    length: PeriodLength, first: int, hours: int, zone: str, begin: time
) -> None:
    after = us("2025-06-01T00:00") + first * HOUR_US
    until = after + hours * HOUR_US
    place = ZoneInfo(zone)
    # Days end on halves of hours somewhere.
    moments = range(after, until + 1, HOUR_US // 2)
    newest = dict.fromkeys(find_last_complete_period(length, at, place, begin) for at in moments)
    assert list(periods_ending_in(length, after, until, place, begin)) == [
        slot for slot in newest if after < slot.period.end_us <= until
    ]
