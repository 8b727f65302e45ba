"""Computes when a weekly schedule in a time zone is active, and when it next starts or ends.

Pure: no database, no clock. Instants are µs since the epoch. A span such as 22:00 to 06:00 belongs to the
local day on which it begins and may end on the next one. Where a local time does not exist, the instant of
the clock change applies. Where it exists twice, a span begins at the first and ends at the second, so that it
covers every requested hour and stays active through the repeated one. Spans that overlap or touch count as
one.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import DAY_US, US_PER_S, to_datetime

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MIN: Final = 24 * 60
_WEEK_MIN: Final = 7 * _DAY_MIN
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_SECOND: Final = timedelta(seconds=1)
# A span of one weekday recurs every seven days, and a clock change can skip one of them (Samoa skipped a
# Friday).
_HORIZON_DAYS: Final = 24
# A month of days for each zone and rule: callers move forward through time and do not jump between years.
_CACHED_DAYS: Final = 32
_EVER: Final = (-(2**63),)


class _Span(NamedTuple):
    """`days` holds weekdays (0: Monday); minutes are counted from the midnight that begins such a day."""

    days: frozenset[int]
    begin: int
    end: int


class WeeklyHours:
    """Hours of the week in which something is active, in a time zone. Made by `make_weekly_hours`.

    Caches, for each UTC day that is queried, the instants at which it turns on, off, on, …, with those
    shortly before the day and the first one after it.
    """

    def __init__(self, spans: Sequence[_Span], zone: ZoneInfo) -> None:
        self._spans = tuple(sorted(spans, key=lambda span: span.begin))
        self._zone = zone
        self._always = _covers_week(self._spans)
        self._days: dict[int, tuple[int, ...]] = {}

    def active(self, at_us: int) -> bool:
        """Return whether it is active at an instant; a span includes its beginning and excludes its end."""
        return bisect_right(self._marks(at_us), at_us) % 2 == 1

    def next_change(self, at_us: int) -> int | None:
        """Return the first instant after `at_us` at which `active` changes; None where it never does."""
        marks = self._marks(at_us)
        index = bisect_right(marks, at_us)
        return marks[index] if index < len(marks) else None

    def began(self, at_us: int) -> int:
        """Return an instant whose `next_change` begins the span active at `at_us`, or the next span."""
        marks = self._marks(at_us)
        index = bisect_right(marks, at_us)
        return marks[index - 1] - 1 if index % 2 else at_us

    def _marks(self, at_us: int) -> tuple[int, ...]:
        day = at_us // DAY_US
        marks = self._days.get(day)
        if marks is None:
            if len(self._days) >= _CACHED_DAYS:
                self._days.clear()
            marks = self._days[day] = _EVER if self._always else tuple(self._around(day))
        return marks

    def _around(self, day: int) -> Iterator[int]:
        """Yield the instants of change from a day or two before a UTC day to the first one after it."""
        local = to_datetime(day * DAY_US).astimezone(self._zone).toordinal()
        end_us = (day + 1) * DAY_US
        held: int | None = None
        # A span that began three days ago has ended, whatever the clock changes were.
        for begin, end in self._intervals(local - 2):
            if held is not None and begin <= held:
                held = max(held, end)
                continue
            if held is not None:
                yield held
                if held >= end_us:
                    return
            yield begin
            if begin >= end_us:
                return
            held = end

    def _intervals(self, first: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of the days from `first` on as instants, by their beginning, without empty ones."""
        for ordinal in range(first, first + _HORIZON_DAYS):
            for span in self._spans:
                if (ordinal - 1) % 7 not in span.days:
                    continue
                begin = find_local_instant(ordinal, span.begin, self._zone, second=False)
                end = find_local_instant(ordinal, span.end, self._zone, second=True)
                if begin < end:
                    yield begin, end


def find_local_instant(ordinal: int, minutes: int, zone: ZoneInfo, *, second: bool) -> int:
    """Return the instant of a local time, in µs since the epoch.

    Args:
        ordinal: The day, as in `date.toordinal`.
        minutes: Minutes after its midnight.
        zone: The time zone. For a local time that does not exist in it, the instant of the clock change.
        second: Whether to return the second instant of a local time that exists twice.
    """
    wall = datetime.fromordinal(ordinal) + timedelta(minutes=minutes)
    wall_s = (wall - _EPOCH) // _SECOND
    # UTC offsets before and after a change. They differ where the local time exists twice or not at all.
    before_s, after_s = (_offset_s(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if before_s < after_s:
        return _jump(zone, wall_s - after_s, wall_s - before_s) * US_PER_S
    return (wall_s - (after_s if second else before_s)) * US_PER_S


def _jump(zone: ZoneInfo, low_s: int, high_s: int) -> int:
    """Return the second at which the clock changes: after `low_s`, at `high_s` at the latest."""
    old = _offset_s(_at(low_s, zone))
    while high_s - low_s > 1:
        middle = (low_s + high_s) // 2
        if _offset_s(_at(middle, zone)) == old:
            low_s = middle
        else:
            high_s = middle
    return high_s


def make_weekly_hours(spans: Sequence[Mapping[str, Any]], timezone: str) -> WeeklyHours:
    """Make weekly hours from spans as rules and silences store them.

    Args:
        spans: `{"days": ["mon", …]?, "from": "22:00", "to": "06:00"}` each. Without `days`: every day. Where
            `to` is not after `from`, it is on the next day; "24:00" is the midnight that ends the day. An
            empty list is never active.
        timezone: the name of an IANA zone.

    Raises:
        KeyError, ValueError: the spans were not validated.
    """
    return WeeklyHours([_span(span) for span in spans], ZoneInfo(timezone))


def parse_minutes_of_day(text: str) -> int:
    """Parse `HH:MM` into minutes since midnight (ValueError)."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _span(span: Mapping[str, Any]) -> _Span:
    begin, end = parse_minutes_of_day(span["from"]), parse_minutes_of_day(span["to"])
    days = span.get("days")
    return _Span(
        frozenset(range(7) if days is None else map(DAYS.index, days)),
        begin,
        end if end > begin else end + _DAY_MIN,
    )


def _covers_week(spans: Sequence[_Span]) -> bool:
    """Return whether the spans cover every minute of a week."""
    # A span that begins on Sunday may end on Monday, which is in this week too.
    covered = bytearray(_WEEK_MIN + _DAY_MIN)
    for span in spans:
        for day in span.days:
            begin, end = (day * _DAY_MIN + minute for minute in (span.begin, span.end))
            covered[begin:end] = b"\1" * (end - begin)
    monday = (now or later for now, later in zip(covered[:_DAY_MIN], covered[_WEEK_MIN:], strict=True))
    return all(monday) and all(covered[_DAY_MIN:_WEEK_MIN])


def _at(seconds: int, zone: ZoneInfo) -> datetime:
    return to_datetime(seconds * US_PER_S).astimezone(zone)


def _offset_s(moment: datetime) -> int:
    offset = moment.utcoffset()
    if offset is None:  # the zone is one of the IANA database: each of its times has an offset
        raise ValueError(moment)
    return offset // _SECOND
