"""Resolves the day or month of a report, and the period before it. Pure: no clock.

Days and months are in the local time of the site, so a day can have 23 to 25 hours.
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


def find_previous_slot(slot: DatedPeriod, zone: ZoneInfo) -> DatedPeriod:
    """Return the day before a day, or the month before a month."""
    last = slot.first - timedelta(days=1)
    return DatedPeriod.of_days(last if slot.first == slot.last else last.replace(day=1), last, zone)


def _not_over(length: str, last: str) -> InvalidError:
    return InvalidError(
        f"The {length} is not over yet at the site. The last complete {length} is {last}.",
        code="period_not_over",
    )


def _check(first: date) -> None:
    if first < _FIRST:
        raise InvalidError(f"No older data exist. Choose {_FIRST} or a later date.", code="time_out_of_range")
