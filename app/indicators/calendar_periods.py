"""Periods of time: hours, and days, months and years of a place.

Owns what a local day is: from midnight to midnight of the clocks there, of 23 or 25 hours where they change.
Pure: no clock. Instants are µs since the epoch.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime

HOUR_US: Final = 3_600 * US_PER_S
DAY_US: Final = 24 * HOUR_US
_DECEMBER: Final = 12


class TimePeriod(NamedTuple):
    """From `start_us`, included, to `end_us`, excluded."""

    start_us: int
    end_us: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_us - self.start_us) / US_PER_S

    def hours(self) -> range:
        """The instants at which whole hours of UTC begin within it."""
        first = -(-self.start_us // HOUR_US) * HOUR_US
        return range(first, self.end_us, HOUR_US)


# Of a site's boxes the same days are asked about, hundreds of times.
@lru_cache(8192)
def resolve_local_time(day: date, at: time, zone: ZoneInfo) -> int:
    """Where a local time lies: of two the first; of none, as far after the jump as it would have been."""
    return from_datetime(datetime.combine(day, at, tzinfo=zone).astimezone(UTC))


def local_date(at_us: int, zone: ZoneInfo) -> date:
    """The date at a place."""
    return to_datetime(at_us).astimezone(zone).date()


def hour_containing(at_us: int) -> TimePeriod:
    """The hour of UTC that an instant lies in."""
    start = at_us // HOUR_US * HOUR_US
    return TimePeriod(start, start + HOUR_US)


def local_day_range(first: date, last: date, zone: ZoneInfo) -> TimePeriod:
    """The local days from `first` to `last`, both included."""
    return TimePeriod(
        resolve_local_time(first, time(), zone), resolve_local_time(last + timedelta(days=1), time(), zone)
    )


def local_day(day: date, zone: ZoneInfo) -> TimePeriod:
    """A local day."""
    return local_day_range(day, day, zone)


def last_of_month(year: int, month: int) -> date:
    """The last day of a month."""
    following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
    return following - timedelta(days=1)


def local_year(year: int, zone: ZoneInfo) -> TimePeriod:
    """A local year."""
    return local_day_range(date(year, 1, 1), date(year, 12, 31), zone)


def list_dates(first: date, last: date) -> list[date]:
    """The dates from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
