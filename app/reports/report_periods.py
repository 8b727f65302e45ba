"""Resolves the day, week or month of a report, and the period before it. Pure: no clock.

Days, weeks and months are in the local time of the site, so a day can have 23 to 25 hours. Weeks begin on
Mondays.
"""

import re
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.environmental_indices.period_selection import (
    DatedPeriod,
    find_last_complete_period,
    last_of_month,
    local_date,
)
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US
from app.reports.report_input import ReportLength

_WEEK_DAYS: Final = 7
_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
# In every time zone, the day before must be in the range of samples.
_FIRST: Final = local_date(EARLIEST_US, ZoneInfo("UTC")) + timedelta(days=2)


def resolve_day_slot(day: date | None, zone: ZoneInfo, now_us: int) -> DatedPeriod:
    """Resolve the day of a report; None: the last complete day.

    Raises:
        InvalidError: `period_not_over`, `time_out_of_range`.
    """
    if day is None:
        return find_last_complete_period("day", now_us, zone)
    if day >= local_date(now_us, zone):
        raise _not_over("day", find_last_complete_period("day", now_us, zone).first.isoformat())
    _check(day)
    return DatedPeriod.of_days(day, day, zone)


def resolve_month_slot(month: str | None, zone: ZoneInfo, now_us: int) -> DatedPeriod:
    """Resolve the month of a report, such as `2026-11`; None: the last complete month.

    Raises:
        InvalidError: `invalid_value`, `period_not_over`, `time_out_of_range`.
    """
    if month is None:
        return find_last_complete_period("month", now_us, zone)
    match = _MONTH.fullmatch(month)
    if match is None or match[1] == "0000":
        raise InvalidError("`month` must be a year and a month, such as 2026-11.", code="invalid_value")
    first = date(int(match[1]), int(match[2]), 1)
    if first >= local_date(now_us, zone).replace(day=1):
        raise _not_over("month", f"{find_last_complete_period('month', now_us, zone).first:%Y-%m}")
    _check(first)
    return DatedPeriod.of_days(first, last_of_month(first.year, first.month), zone)


def resolve_week_slot(day: date | None, zone: ZoneInfo, now_us: int) -> DatedPeriod:
    """Resolve the week of a report, from Monday to Sunday, by one of its days; None: the last complete week.

    Raises:
        InvalidError: `period_not_over`, `time_out_of_range`.
    """
    current = _monday(local_date(now_us, zone))
    last = current - timedelta(days=_WEEK_DAYS)
    first = last if day is None else _monday(day)
    if first >= current:
        raise _not_over("week", f"that of {last.isoformat()}")
    _check(first)
    return DatedPeriod.of_days(first, first + timedelta(days=_WEEK_DAYS - 1), zone)


def resolve_last_slot(length: ReportLength, zone: ZoneInfo, at_us: int) -> DatedPeriod:
    """Resolve the last complete day, week or month at an instant."""
    if length == "month":
        return resolve_month_slot(None, zone, at_us)
    return (resolve_week_slot if length == "week" else resolve_day_slot)(None, zone, at_us)


def _monday(day: date) -> date:
    # A date near the calendar's beginning has no Monday before it; no such date is accepted anyway.
    return day - timedelta(days=day.weekday()) if day >= _FIRST else day


def find_previous_slot(slot: DatedPeriod, zone: ZoneInfo) -> DatedPeriod:
    """Return the day before a day, the week before a week, or the month before a month."""
    last = slot.first - timedelta(days=1)
    if (slot.last - slot.first).days == _WEEK_DAYS - 1:
        return DatedPeriod.of_days(slot.first - timedelta(days=_WEEK_DAYS), last, zone)
    return DatedPeriod.of_days(last if slot.first == slot.last else last.replace(day=1), last, zone)


def _not_over(length: str, last: str) -> InvalidError:
    return InvalidError(
        f"The {length} is not over yet at the site. The last complete {length} is {last}.",
        code="period_not_over",
    )


def _check(first: date) -> None:
    if first < _FIRST:
        raise InvalidError(f"No older data exist. Choose {_FIRST} or a later date.", code="time_out_of_range")
