from datetime import UTC, datetime, timedelta

import pytest

from app.alerts.muting_schemas import LocalTime
from app.alerts.silence_times import SilenceWindow, find_next_window, resolve_silence_end

SECOND = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
NIGHT = [{"from": "22:00", "to": "06:00"}]


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "window"),
    [
        (utc(24, 12), SilenceWindow(utc(24, 21), utc(25, 5))),
        (utc(24, 21), SilenceWindow(utc(24, 21), utc(25, 5))),
        (utc(25, 2), SilenceWindow(utc(25, 2), utc(25, 5))),
        (utc(25, 5), SilenceWindow(utc(25, 21), utc(26, 5))),
    ],
)
def test_the_window_that_is_on_or_the_next_one(now: datetime, window: SilenceWindow) -> None:
    assert find_next_window(NIGHT, "Europe/Paris", now) == window


def test_spans_that_touch_are_one_window() -> None:
    spans = [{"from": "22:00", "to": "24:00"}, {"from": "00:00", "to": "06:00"}]
    assert find_next_window(spans, "Europe/Paris", utc(24, 22)).end == utc(25, 5)


def test_what_is_always_on_has_no_end() -> None:
    assert find_next_window([{"from": "00:00", "to": "00:00"}], "UTC", utc(1, 0)) == SilenceWindow(
        utc(1, 0), None
    )


def test_what_is_never_on_has_no_window() -> None:
    assert find_next_window([], "UTC", utc(1, 0)) == SilenceWindow(None, None)


def test_hours_are_those_of_the_clocks_on_the_wall() -> None:
    before = find_next_window(NIGHT, "Europe/Paris", datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert before.start == datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert before.end is not None
    # In this night the clocks go back.
    assert before.end - datetime(2026, 10, 24, 20, tzinfo=UTC) == timedelta(hours=9)


def _until(time: str, days: int | None = None) -> LocalTime:
    return LocalTime(time=time, days=days)


@pytest.mark.parametrize(
    ("until", "begin", "end"),
    [
        # Paris is an hour ahead in November.
        (_until("08:00", 1), utc(24, 12), utc(25, 7)),
        (_until("08:00", 0), utc(24, 3), utc(24, 7)),
        (_until("08:00"), utc(24, 3), utc(24, 7)),
        (_until("08:00"), utc(24, 7), utc(25, 7)),
        # In UTC it is the 23rd yet.
        (_until("08:00", 1), utc(23, 23, 30), utc(25, 7)),
        # On 28 March 2027 clocks jump from 02:00 to 03:00: 02:30 is the moment of the jump.
        (_until("02:30", 1), datetime(2027, 3, 27, 12, tzinfo=UTC), datetime(2027, 3, 28, 1, tzinfo=UTC)),
        # On 25 October 2026 02:30 exists twice: the second one is meant.
        (
            _until("02:30", 1),
            datetime(2026, 10, 24, 12, tzinfo=UTC),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        ),
        # Between the two the next one is still to come.
        (
            _until("02:30"),
            datetime(2026, 10, 25, 0, 45, tzinfo=UTC),
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        ),
        (_until("08:00", 1), datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 7, tzinfo=UTC)),
    ],
)
def test_a_local_time_is_one_instant(until: LocalTime, begin: datetime, end: datetime) -> None:
    assert resolve_silence_end(until, "Europe/Paris", begin) == end
