"""Selects the periods of indices: the last complete one, or all that start or end in a time range. Pure.

Hours are hours of UTC. Days begin at a local time: at midnight, or for noise with the first part of the day.
They have 23 or 25 hours if the clocks change. Weeks begin on Mondays, four weeks on every fourth Monday, as
the buckets of series do. Instants are µs since the epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import DAY_US, HOUR_US, US_PER_S, from_datetime, to_datetime

_DECEMBER: Final = 12


class TimePeriod(NamedTuple):
    """A time range from `start_us` (included) to `end_us` (excluded)."""

    start_us: int
    end_us: int

    @property
    def seconds(self) -> float:
        """Its length, s."""
        return (self.end_us - self.start_us) / US_PER_S

    def hours(self) -> range:
        """Return the starts of the whole hours of UTC within it."""
        first = -(-self.start_us // HOUR_US) * HOUR_US
        return range(first, self.end_us, HOUR_US)


# Cached: the boxes of a site resolve the same days hundreds of times.
@lru_cache(8192)
def resolve_local_time(day: date, at: time, zone: ZoneInfo) -> int:
    """Return the instant of a local time.

    If it occurs twice, the first one counts. If the clocks skip it, the UTC offset before the jump applies.
    """
    return from_datetime(datetime.combine(day, at, tzinfo=zone).astimezone(UTC))


def local_date(at_us: int, zone: ZoneInfo) -> date:
    """Return the local date of an instant."""
    return to_datetime(at_us).astimezone(zone).date()


def hour_containing(at_us: int) -> TimePeriod:
    """Return the hour of UTC that contains an instant."""
    start = at_us // HOUR_US * HOUR_US
    return TimePeriod(start, start + HOUR_US)


def local_day_range(first: date, last: date, zone: ZoneInfo) -> TimePeriod:
    """Return the local days from `first` to `last`, both included."""
    return TimePeriod(
        resolve_local_time(first, time(), zone), resolve_local_time(last + timedelta(days=1), time(), zone)
    )


def local_day(day: date, zone: ZoneInfo) -> TimePeriod:
    """Return a local day."""
    return local_day_range(day, day, zone)


def last_of_month(year: int, month: int) -> date:
    """Return the last day of a month."""
    following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
    return following - timedelta(days=1)


def local_year(year: int, zone: ZoneInfo) -> TimePeriod:
    """Return a local year."""
    return local_day_range(date(year, 1, 1), date(year, 12, 31), zone)


def list_dates(first: date, last: date) -> list[date]:
    """List the dates from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


type PeriodLength = Literal["hour", "day", "week", "weeks", "month", "year"]

DAYS_BY_LENGTH: Final[dict[PeriodLength, int]] = {"day": 1, "week": 7, "weeks": 28}
# A Monday, which is also the origin of the buckets of series.
_ORIGIN: Final = date(2000, 1, 3)
_JANUARY: Final = 1
MIN_LENGTH_US: Final[dict[PeriodLength, int]] = {
    "hour": HOUR_US,
    "day": DAY_US - 2 * HOUR_US,
    "week": 7 * DAY_US - 2 * HOUR_US,
    "weeks": 28 * DAY_US - 2 * HOUR_US,
    "month": 28 * DAY_US - 2 * HOUR_US,
    "year": 365 * DAY_US - 2 * HOUR_US,
}
"""The least length of each, if clocks change by at most two hours."""


@dataclass(frozen=True, slots=True)
class DatedPeriod:
    """A period of an index, with its local dates.

    Attributes:
        period: the time range.
        first: the first local date.
        last: the last local date.
    """

    period: TimePeriod
    first: date
    last: date

    @classmethod
    def of_days(cls, first: date, last: date, zone: ZoneInfo, begin: time = time()) -> "DatedPeriod":
        """Make the period of local days from `first` to `last`, both included, which begin at `begin`."""
        after = last + timedelta(days=1)
        return cls(
            TimePeriod(resolve_local_time(first, begin, zone), resolve_local_time(after, begin, zone)),
            first,
            last,
        )

    @classmethod
    def of_hour(cls, at_us: int, zone: ZoneInfo) -> "DatedPeriod":
        """Make the period of the hour of UTC that contains an instant."""
        day = local_date(at_us, zone)
        return cls(hour_containing(at_us), day, day)


def find_last_complete_period(
    length: PeriodLength, at_us: int, zone: ZoneInfo, begin: time = time()
) -> DatedPeriod:
    """Find the newest period that has ended. One or four weeks end with the last complete day.

    Args:
        length: the length of the period.
        at_us: the instant, µs since the epoch.
        zone: the time zone of the site.
        begin: the local time at which days begin.
    """
    if length == "hour":
        return DatedPeriod.of_hour(at_us // HOUR_US * HOUR_US - HOUR_US, zone)
    day = local_date(at_us, zone)
    while resolve_local_time(day + timedelta(days=1), begin, zone) > at_us:
        day -= timedelta(days=1)
    if length in DAYS_BY_LENGTH:
        return DatedPeriod.of_days(day - timedelta(days=DAYS_BY_LENGTH[length] - 1), day, zone, begin)
    after = day + timedelta(days=1)
    if length == "month":
        last = after.replace(day=1) - timedelta(days=1)
        return DatedPeriod.of_days(last.replace(day=1), last, zone, begin)
    last = date(after.year, _JANUARY, 1) - timedelta(days=1)
    return DatedPeriod.of_days(date(last.year, _JANUARY, 1), last, zone, begin)


def periods_starting_in(
    length: PeriodLength, span: TimePeriod, zone: ZoneInfo, begin: time = time()
) -> Iterator[DatedPeriod]:
    """Yield all periods that begin within a time range, ascending.

    Args:
        length: the length of the periods.
        span: the time range.
        zone: the time zone of the site.
        begin: the local time at which days begin.
    """
    if length == "hour":
        for start_us in span.hours():
            yield DatedPeriod.of_hour(start_us, zone)
        return
    first = _begun(length, local_date(span.start_us, zone) - timedelta(days=1))
    while True:
        last = _last(length, first)
        slot = DatedPeriod.of_days(first, last, zone, begin)
        if slot.period.start_us >= span.end_us:
            return
        if slot.period.start_us >= span.start_us:
            yield slot
        first = last + timedelta(days=1)


def _begun(length: PeriodLength, day: date) -> date:
    """Return the first date of the period that contains a date."""
    if length in DAYS_BY_LENGTH:
        return day - timedelta(days=(day - _ORIGIN).days % DAYS_BY_LENGTH[length])
    return day.replace(day=1) if length == "month" else date(day.year, _JANUARY, 1)


def _last(length: PeriodLength, first: date) -> date:
    if length in DAYS_BY_LENGTH:
        return first + timedelta(days=DAYS_BY_LENGTH[length] - 1)
    return last_of_month(first.year, first.month) if length == "month" else date(first.year, 12, 31)


def periods_ending_in(
    length: PeriodLength, after_us: int, until_us: int, zone: ZoneInfo, begin: time = time()
) -> Iterator[DatedPeriod]:
    """Yield all periods that end after an instant, and at or before another one, ascending.

    There is a period of one or four weeks that ends with each day, as in `find_last_complete_period`.

    Args:
        length: the length of the periods.
        after_us: the instant before the range of ends, µs since the epoch.
        until_us: the last instant of the range of ends, µs since the epoch.
        zone: the time zone of the site.
        begin: the local time at which days begin.
    """
    if length == "hour":
        first = after_us // HOUR_US * HOUR_US
        for start_us in range(first, until_us - HOUR_US + 1, HOUR_US):
            yield DatedPeriod.of_hour(start_us, zone)
        return
    day = local_date(after_us, zone) - timedelta(days=1)
    while (end_us := resolve_local_time(day, begin, zone)) <= until_us:
        if end_us > after_us:
            slot = find_last_complete_period(length, end_us, zone, begin)
            if slot.period.end_us == end_us:
                yield slot
        day += timedelta(days=1)
