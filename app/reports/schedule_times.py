"""Computes when the mails of a schedule are due, and which period each of them reports. Pure: no clock.

A mail is due at a local hour of the site: each day for the day before, on Mondays for the week before, on the
first day of a month for the month before.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.environmental_indices.period_selection import DatedPeriod, local_date, resolve_local_time
from app.platform.kernel.instants import from_datetime, to_datetime
from app.reports.report_input import ReportLength
from app.reports.report_periods import resolve_last_slot

LATEST: Final = timedelta(days=7)
"""Mails that were due longer ago than this, while no process ran, are left out; the newest never is."""

# A month has at most this many days before the first day of the next one.
_LONGEST_DAYS: Final = 32


def find_next_due(length: ReportLength, hour: int, zone: ZoneInfo, after: datetime) -> datetime:
    """Find the first time after an instant at which a mail is due.

    If clocks skip the hour, the mail is due as long after the jump; if it occurs twice, at its first time.

    Args:
        length: the length of the reported period.
        hour: the local hour.
        zone: the time zone of the site.
        after: the instant, aware.
    """
    after_us = from_datetime(after)
    day = local_date(after_us, zone)
    for offset in range(_LONGEST_DAYS + 1):
        candidate = day + timedelta(days=offset)
        due_us = resolve_local_time(candidate, time(hour), zone)
        if due_us > after_us and _begins_period(length, candidate):
            return to_datetime(due_us)
    raise AssertionError(length)


def _begins_period(length: ReportLength, day: date) -> bool:
    if length == "week":
        return day.weekday() == 0
    return length == "day" or day.day == 1


def find_due_after_change(
    length: ReportLength, hour: int, zone: ZoneInfo, *, former_due: datetime, now: datetime
) -> datetime:
    """Find when the next mail of a changed schedule is due.

    The time may have passed: then the former hour was still to come on the same day.

    Args:
        length: the new length of the reported period.
        hour: the new local hour.
        zone: the time zone of the site.
        former_due: when the next mail was due before the change.
        now: the current time, aware.
    """
    former_day = local_date(from_datetime(former_due), zone)
    before_us = resolve_local_time(former_day, time(), zone) - 1
    return find_next_due(length, hour, zone, to_datetime(min(before_us, from_datetime(now))))


def list_due_times(
    length: ReportLength, hour: int, zone: ZoneInfo, next_at: datetime, now: datetime
) -> Iterator[datetime]:
    """Yield the due times of a schedule that have passed, without those that are too old.

    Args:
        length: the length of the reported period.
        hour: the local hour.
        zone: the time zone of the site.
        next_at: the first due time that was not planned yet.
        now: the current time, aware.
    """
    due_at = next_at
    while due_at <= now:
        following = find_next_due(length, hour, zone, due_at)
        if due_at > now - LATEST or following > now:
            yield due_at
        due_at = following


def find_reported_period(length: ReportLength, zone: ZoneInfo, due_at: datetime) -> DatedPeriod:
    """Find the period that a mail reports: the last complete one when it is due."""
    return resolve_last_slot(length, zone, from_datetime(due_at))
