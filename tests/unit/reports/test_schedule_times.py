"""When mails of reports are due, and what they report."""

from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.reports.report_input import ReportLength
from app.reports.schedule_times import find_due_after_change, find_next_due, find_reported_period

PARIS = ZoneInfo("Europe/Paris")
AUCKLAND = ZoneInfo("Pacific/Auckland")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "hour", "zone", "after", "due"),
    [
        ("day", 8, PARIS, "2026-11-24T06:59:59", "2026-11-24T07:00:00"),
        ("day", 8, PARIS, "2026-11-24T07:00:00", "2026-11-25T07:00:00"),
        # The 24th has begun there, and the hour has passed.
        ("day", 8, AUCKLAND, "2026-11-23T20:00:00", "2026-11-24T19:00:00"),
        ("week", 6, PARIS, "2026-11-24T07:00:00", "2026-11-30T05:00:00"),
        ("week", 6, PARIS, "2026-11-23T04:59:59", "2026-11-23T05:00:00"),
        ("month", 0, PARIS, "2026-11-24T07:00:00", "2026-11-30T23:00:00"),
        ("month", 23, PARIS, "2026-12-01T22:00:00", "2027-01-01T22:00:00"),
        # The clocks skip the hour, and repeat it.
        ("day", 2, PARIS, "2026-03-28T12:00:00", "2026-03-29T01:00:00"),
        ("day", 2, PARIS, "2026-10-24T12:00:00", "2026-10-25T00:00:00"),
        ("day", 2, PARIS, "2026-10-25T00:00:00", "2026-10-26T01:00:00"),
    ],
)
def test_a_mail_is_due_at_the_next_local_hour(
    length: ReportLength, hour: int, zone: ZoneInfo, after: str, due: str
) -> None:
    assert find_next_due(length, hour, zone, at(after)) == at(due)


@pytest.mark.parametrize(
    ("length", "due", "first", "last"),
    [
        ("day", "2026-11-24T07:00:00", date(2026, 11, 23), date(2026, 11, 23)),
        ("week", "2026-11-23T07:00:00", date(2026, 11, 16), date(2026, 11, 22)),
        ("week", "2026-11-26T07:00:00", date(2026, 11, 16), date(2026, 11, 22)),
        ("month", "2026-12-01T07:00:00", date(2026, 11, 1), date(2026, 11, 30)),
        # Midnight at the site is the evening before in UTC.
        ("month", "2026-11-30T23:00:00", date(2026, 11, 1), date(2026, 11, 30)),
    ],
)
def test_it_reports_the_last_complete_period(length: ReportLength, due: str, first: date, last: date) -> None:
    period = find_reported_period(length, PARIS, at(due))
    assert (period.first, period.last) == (first, last)


@pytest.mark.parametrize(
    ("length", "hour", "former_due", "due"),
    [
        # Changed on Monday at 09:00 in Paris. The mail of this day was still to come: it is due at once.
        ("day", 8, "2026-11-23T09:00:00", "2026-11-23T07:00:00"),
        ("week", 8, "2026-11-23T09:00:00", "2026-11-23T07:00:00"),
        ("day", 23, "2026-11-23T09:00:00", "2026-11-23T22:00:00"),
        # The mail of this day was made.
        ("day", 8, "2026-11-24T06:00:00", "2026-11-24T07:00:00"),
        ("week", 8, "2026-11-24T06:00:00", "2026-11-30T07:00:00"),
        # The first mail of a more frequent report does not wait for the next mail of the former one.
        ("day", 8, "2026-11-30T07:00:00", "2026-11-24T07:00:00"),
        ("month", 8, "2026-11-30T07:00:00", "2026-12-01T07:00:00"),
    ],
)
def test_a_change_skips_no_mail_that_was_still_to_come(
    length: ReportLength, hour: int, former_due: str, due: str
) -> None:
    found = find_due_after_change(
        length, hour, PARIS, former_due=at(former_due), now=at("2026-11-23T08:00:00")
    )
    assert found == at(due)


@pytest.mark.parametrize("length", ["day", "week", "month"])
def test_each_period_of_two_years_is_reported_exactly_once(length: ReportLength) -> None:
    now, reported = at("2026-01-10T12:00:00"), []
    while now < at("2028-01-10T12:00:00"):
        now = find_next_due(length, 2, PARIS, now)
        reported.append(find_reported_period(length, PARIS, now))
    assert len(set(reported)) == len(reported)
    assert all(following.period.start_us == period.period.end_us for period, following in pairwise(reported))
