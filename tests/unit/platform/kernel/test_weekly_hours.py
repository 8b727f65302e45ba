from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.platform.http.contract.fields import list_timezones
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, from_datetime, parse_rfc3339
from app.platform.kernel.weekly_hours import DAYS, make_weekly_hours, parse_minutes_of_day

MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
type Spans = Sequence[Mapping[str, Any]]

NIGHT: Spans = [{"from": "22:00", "to": "06:00"}]
WEEKDAYS = list(DAYS[:5])
# Each touches what the clocks do at 01:00, 02:00 or 03:00 in its own way.
CASES: list[Spans] = [
    NIGHT,
    [{"days": WEEKDAYS, "from": "08:00", "to": "18:00"}],
    [{"from": "00:00", "to": "00:00"}],
    [{"days": ["sun"], "from": "00:00", "to": "24:00"}],
    [{"from": "01:15", "to": "01:45"}, {"from": "02:15", "to": "02:45"}],
    [{"from": "00:30", "to": "01:30"}, {"from": "01:30", "to": "02:30"}],
    [{"from": "22:00", "to": "02:30"}],
    [{"from": "02:30", "to": "12:00"}],
    [{"from": "01:00", "to": "02:00"}],
    [{"from": "02:00", "to": "03:00"}],
    [{"from": "03:00", "to": "01:00"}],
    [{"days": ["sat"], "from": "12:00", "to": "12:00"}, {"days": ["sun"], "from": "02:59", "to": "02:58"}],
]
# When the clocks were set back: from and to which local minutes of the day.
CHANGES = {
    "Europe/Paris": ("2026-03-29", "2026-10-25", (120, 180)),
    "America/Toronto": ("2026-03-08", "2026-11-01", (60, 120)),
}


def us(text: str) -> int:
    return parse_rfc3339(text)


def nights(day: str) -> Spans:
    return [{**NIGHT[0], "days": [day]}]


def begins(spans: Spans, weekday: int) -> list[tuple[int, int]]:
    """(first, end) minutes of the spans that begin on a weekday."""
    found = []
    for span in spans:
        first, end = parse_minutes_of_day(span["from"]), parse_minutes_of_day(span["to"])
        if DAYS[weekday] in span.get("days", DAYS):
            found.append((first, end if end > first else end + 1440))
    return found


def by_wall_time(
    spans: Spans, wall: datetime, inside: Callable[[int, int, int], bool] = lambda w, a, b: a <= w < b
) -> bool:
    """What a clock on the wall says: it knows of its own day and of the day before."""
    minute = wall.hour * 60 + wall.minute
    return any(
        inside(minute + 1440 * ago, first, end)
        for ago in (0, 1)
        for first, end in begins(spans, (wall.weekday() - ago) % 7)
    )


def oracle(spans: Spans, at: datetime, zone: str, back: str, repeated: tuple[int, int]) -> bool:
    """The wall, except in the hour that comes twice: spans begin in its first run and end in its second."""
    wall = at.astimezone(ZoneInfo(zone))
    start, stop = repeated
    if wall.date().isoformat() != back or not start <= wall.hour * 60 + wall.minute < stop:
        return by_wall_time(spans, wall)
    if wall.fold:
        return by_wall_time(spans, wall, lambda w, a, b: a < stop + w // 1440 * 1440 and w < b)
    return by_wall_time(spans, wall, lambda w, a, b: a <= w and b >= start + w // 1440 * 1440)


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("spans", CASES, ids=str)
def test_every_minute_around_both_changes_of_clock(spans: Spans, zone: str) -> None:
    forward, back, repeated = CHANGES[zone]
    hours = make_weekly_hours(spans, zone)
    for day in (forward, back):
        first = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=30)
        minutes = [first + timedelta(minutes=number) for number in range(72 * 60)]
        expected = [oracle(spans, at, zone, back, repeated) for at in minutes]
        begin_us = from_datetime(first)
        assert [hours.active(begin_us + number * MINUTE_US) for number in range(len(minutes))] == expected
        changes = [
            begin_us + number * MINUTE_US
            for number in range(1, len(minutes))
            if expected[number] is not expected[number - 1]
        ]
        found, at_us = [], begin_us
        while (after := hours.next_change(at_us)) is not None and after < begin_us + 72 * 60 * MINUTE_US:
            found.append(after)
            at_us = after
        assert found == changes


def test_a_time_that_does_not_exist_is_the_jump() -> None:
    hours = make_weekly_hours([{"from": "02:30", "to": "04:00"}], "Europe/Paris")
    jump = us("2026-03-29T01:00:00Z")
    assert not hours.active(jump - 1)
    assert hours.active(jump)
    assert hours.next_change(jump) == us("2026-03-29T02:00:00Z")
    ending = make_weekly_hours([{"from": "01:00", "to": "02:30"}], "Europe/Paris")
    assert ending.next_change(jump - 1) == jump


def test_a_repeated_hour_is_on_all_along() -> None:
    hours = make_weekly_hours([{"from": "02:15", "to": "02:45"}], "Europe/Paris")
    assert hours.next_change(us("2026-10-24T22:00:00Z")) == us("2026-10-25T00:15:00Z")
    assert hours.next_change(us("2026-10-25T00:15:00Z")) == us("2026-10-25T01:45:00Z")


@pytest.mark.parametrize(
    ("zone", "spans", "begin", "end"),
    [
        # The clock jumps from 00:00 to 01:00: the day has no midnight.
        ("America/Havana", [{"from": "00:00", "to": "02:00"}], "2026-03-08T05:00Z", "2026-03-08T06:00Z"),
        ("Asia/Beirut", [{"from": "22:00", "to": "00:30"}], "2026-03-28T20:00Z", "2026-03-28T22:00Z"),
        # It is set back from 01:00 to 00:00, and from 24:00 to 23:00 of the day before.
        ("America/Havana", [{"from": "00:30", "to": "02:00"}], "2026-11-01T04:30Z", "2026-11-01T07:00Z"),
        ("America/Havana", [{"from": "22:00", "to": "24:00"}], "2026-11-01T02:00Z", "2026-11-01T05:00Z"),
        ("Africa/Cairo", [{"from": "23:30", "to": "00:30"}], "2026-10-29T20:30Z", "2026-10-29T22:30Z"),
        ("Africa/Cairo", [{"from": "00:00", "to": "01:00"}], "2026-10-29T22:00Z", "2026-10-29T23:00Z"),
        # Half an hour, from 02:00 to 01:30 and from 02:00 to 02:30.
        ("Australia/Lord_Howe", [{"from": "01:45", "to": "03:00"}], "2026-04-04T14:45Z", "2026-04-04T16:30Z"),
        ("Australia/Lord_Howe", [{"from": "02:15", "to": "03:00"}], "2026-10-03T15:30Z", "2026-10-03T16:00Z"),
        # A whole day that was not: the night before it ends, and the night after it begins, at the jump.
        ("Pacific/Apia", nights("thu"), "2011-12-30T08:00Z", "2011-12-30T10:00Z"),
        ("Pacific/Apia", nights("fri"), "2011-12-30T10:00Z", "2011-12-30T16:00Z"),
    ],
)  # fmt: skip
def test_odd_changes_of_clock(zone: str, spans: Spans, begin: str, end: str) -> None:
    hours = make_weekly_hours(spans, zone)
    begin_us, end_us = (us(text.replace("Z", ":00Z")) for text in (begin, end))
    assert hours.next_change(begin_us - 1) == begin_us
    assert hours.next_change(begin_us) == end_us
    assert (hours.active(begin_us - 1), hours.active(begin_us), hours.active(end_us)) == (False, True, False)


def test_a_day_that_was_left_out_has_no_hours() -> None:
    hours = make_weekly_hours([{"days": ["fri"], "from": "08:00", "to": "18:00"}], "Pacific/Apia")
    # The Fridays are the 23rd of December and the 6th of January.
    assert hours.next_change(us("2011-12-24T04:00:00Z")) == us("2012-01-05T18:00:00Z")


@pytest.mark.parametrize("zone", ["UTC", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Africa/Cairo"])
@pytest.mark.parametrize(
    "spans",
    [
        [{"from": "00:00", "to": "24:00"}],
        [{"from": "07:30", "to": "07:30"}],
        [{"from": "06:00", "to": "22:00"}, {"from": "22:00", "to": "06:00"}],
        [
            {"days": ["sat", "sun"], "from": "00:00", "to": "24:00"},
            {"days": WEEKDAYS, "from": "00:00", "to": "00:00"},
        ],
    ],
)
def test_what_leaves_nothing_out_never_changes(spans: Spans, zone: str) -> None:
    hours = make_weekly_hours(spans, zone)
    for day in range(0, 10_000, 13):
        at_us = EARLIEST_US + day * DAY_US
        assert hours.active(at_us)
        assert hours.next_change(at_us) is None


def test_no_spans_are_never_active() -> None:
    hours = make_weekly_hours([], "Europe/Paris")
    assert not hours.active(us("2026-01-01T00:00:00Z"))
    assert hours.next_change(us("2026-01-01T00:00:00Z")) is None


def test_the_ends_of_time() -> None:
    hours = make_weekly_hours(NIGHT, "Pacific/Apia")
    assert (hours.next_change(EARLIEST_US) or 0) > EARLIEST_US
    assert (hours.next_change(LATEST_US - 1) or 0) >= LATEST_US


def times() -> st.SearchStrategy[str]:
    return st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda pair: "{:02}:{:02}".format(*pair))


def any_spans() -> st.SearchStrategy[list[dict[str, Any]]]:
    days = st.lists(st.sampled_from(DAYS), min_size=1, unique=True)
    span = st.fixed_dictionaries({"from": times(), "to": times() | st.just("24:00")}, optional={"days": days})
    return st.lists(span, min_size=1, max_size=4)


ODD = [
    ("America/Havana", "2026-03-08T05:00:00Z"),
    ("America/Havana", "2026-11-01T05:00:00Z"),
    ("Asia/Beirut", "2026-03-28T22:00:00Z"),
    ("Africa/Cairo", "2026-10-29T21:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("America/Caracas", "2016-05-01T07:00:00Z"),
]
NEAR = st.sampled_from(ODD).flatmap(
    lambda odd: st.tuples(
        st.just(odd[0]), st.integers(-4 * 1440, 4 * 1440).map(lambda m: us(odd[1]) + m * MINUTE_US)
    )
)
ANYWHERE = st.tuples(
    st.sampled_from(sorted(list_timezones())),
    st.integers(0, 60 * 366 * 1440).map(lambda minutes: EARLIEST_US + minutes * MINUTE_US),
)


@given(any_spans(), NEAR | ANYWHERE)
def test_a_clock_on_the_wall_says_the_same(spans: list[dict[str, Any]], place: tuple[str, int]) -> None:
    zone, at_us = place
    wall = datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(ZoneInfo(zone))
    assume(wall.replace(fold=0).utcoffset() == wall.replace(fold=1).utcoffset())
    assert make_weekly_hours(spans, zone).active(at_us) is by_wall_time(spans, wall)


@given(any_spans(), NEAR | ANYWHERE, st.lists(st.floats(0, 1, exclude_max=True), max_size=5))
def test_nothing_changes_before_the_next_change(
    spans: list[dict[str, Any]], place: tuple[str, int], within: list[float]
) -> None:
    zone, at_us = place
    hours = make_weekly_hours(spans, zone)
    now, change = hours.active(at_us), hours.next_change(at_us)
    until_us = at_us + 30 * DAY_US if change is None else change
    assert until_us > at_us
    assert all(hours.active(at_us + int(part * (until_us - at_us))) is now for part in within)
    assert hours.active(until_us - 1) is now
    if change is not None:
        assert hours.active(change) is not now


@given(any_spans(), NEAR | ANYWHERE)
def test_the_order_of_questions_does_not_matter(spans: list[dict[str, Any]], place: tuple[str, int]) -> None:
    zone, at_us = place
    asked = make_weekly_hours(spans, zone)
    moments = [at_us + number * 7 * DAY_US for number in range(-40, 40)]
    forth = [(asked.active(moment), asked.next_change(moment)) for moment in moments]
    back = [(asked.active(moment), asked.next_change(moment)) for moment in reversed(moments)]
    assert forth == back[::-1]
