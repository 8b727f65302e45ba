from datetime import date, time

import pytest

from app.presentation.date_formats import (
    format_clock_time,
    format_day,
    format_duration,
    format_full_day,
    format_full_hour,
    format_hour_and_minute,
    format_local_time,
    format_month,
    format_short_day,
    spell_duration,
)


def test_dates_are_those_of_the_language() -> None:
    first, other = date(2026, 11, 1), date(2026, 11, 24)
    assert (format_day(other, "en"), format_day(other, "fr")) == ("24 November 2026", "24 novembre 2026")
    assert format_day(first, "fr") == "1er\xa0novembre 2026"
    assert format_full_day(first, "en") == "Sunday 1 November 2026"
    assert format_full_day(first, "fr") == "dimanche 1er\xa0novembre 2026"
    assert (format_short_day(other, "en"), format_short_day(other, "fr")) == ("24 November", "24 novembre")
    assert (format_month(first, "en"), format_month(first, "fr")) == ("November 2026", "novembre 2026")


def test_times_of_day() -> None:
    at = time(9, 5, 7)
    assert (format_clock_time(at, "en"), format_clock_time(at, "fr")) == ("09:05", "9\xa0h\xa005")
    assert format_clock_time(at, "en", seconds=True) == "09:05:07"
    assert format_clock_time(at, "fr", seconds=True) == "9\xa0h\xa005\xa0min\xa007\xa0s"
    assert (format_full_hour(6, "en"), format_full_hour(6, "fr")) == ("06:00", "6\xa0h")
    # The midnight that ends a day.
    assert (format_full_hour(24, "en"), format_full_hour(24, "fr")) == ("24:00", "24\xa0h")
    assert format_hour_and_minute(24, 0, "fr") == "24\xa0h\xa000"


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0.4, "0\xa0s", "0\xa0s"),
        (59.6, "1\xa0min", "1\xa0min"),
        (905, "15\xa0min 5\xa0s", "15\xa0min 5\xa0s"),
        (3600, "1\xa0h", "1\xa0h"),
        (3605, "1\xa0h", "1\xa0h"),
        (2 * 86_400 + 3 * 3600 + 59, "2\xa0d 3\xa0h", "2\xa0j 3\xa0h"),
        (-5, "0\xa0s", "0\xa0s"),
    ],
)
def test_durations(seconds: float, english: str, french: str) -> None:
    assert (format_duration(seconds, "en"), format_duration(seconds, "fr")) == (english, french)


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0, "0 seconds", "0 seconde"),
        (61, "1 minute 1 second", "1 minute 1 seconde"),
        (5400, "1 hour 30 minutes", "1 heure 30 minutes"),
        (2 * 86_400 + 59, "2 days", "2 jours"),
    ],
)
def test_durations_in_words(seconds: float, english: str, french: str) -> None:
    assert (spell_duration(seconds, "en"), spell_duration(seconds, "fr")) == (english, french)


def test_times_are_by_the_clocks_of_the_site() -> None:
    assert (
        format_local_time("2026-11-24T10:10:00Z", "Europe/Paris", "fr")
        == "24 novembre 2026 à 11\xa0h\xa010 (Europe/Paris)"
    )
    assert format_local_time("2026-07-31T22:10:09Z", "Europe/Paris", "fr", seconds=True) == (
        "1er\xa0août 2026 à 0\xa0h\xa010\xa0min\xa009\xa0s (Europe/Paris)"
    )
    assert (
        format_local_time("2026-11-24T10:10:00Z", "Asia/Kolkata", "en")
        == "24 November 2026 at 15:40 (Asia/Kolkata)"
    )
    for unknown in (None, "Mars/Olympus", "../etc/passwd", "/etc/passwd", "", "Europe", "a\0b", "x" * 5000):
        assert format_local_time("2026-11-24T10:10:00Z", unknown, "en") == "24 November 2026 at 10:10 (UTC)"
    assert format_local_time("0001-01-01T00:00:00Z", "America/New_York", "en") == "1 January 1 at 00:00 (UTC)"
    assert format_local_time("yesterday", None, "en") is None
    assert format_local_time(None, None, "en") is None
