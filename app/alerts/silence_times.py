"""Computes the start and end of a silence: the next window of a weekly schedule, or a local time (18:00)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.alerts.muting_schemas import LocalTime
from app.platform.kernel.instants import from_datetime, to_datetime
from app.platform.kernel.weekly_hours import find_local_instant, make_weekly_hours


class SilenceWindow(NamedTuple):
    """A time window from `start` (None: never) to `end` (None: for ever)."""

    start: datetime | None
    end: datetime | None


def find_next_window(schedule: Sequence[Mapping[str, Any]], timezone: str, now: datetime) -> SilenceWindow:
    """Find the current window of a schedule, or else the next one.

    Args:
        schedule: spans as in `app.platform.kernel.weekly_hours.make_weekly_hours`.
        timezone: the name of the IANA time zone of the spans.
        now: the current time, aware. A current window starts at `now`.
    """
    hours = make_weekly_hours(schedule, timezone)
    start: int | None = from_datetime(now)
    if not hours.active(from_datetime(now)):
        start = hours.next_change(from_datetime(now))
    if start is None:
        return SilenceWindow(None, None)
    end = hours.next_change(start)
    return SilenceWindow(to_datetime(start), None if end is None else to_datetime(end))


def resolve_silence_end(until: LocalTime, timezone: str, begin: datetime) -> datetime:
    """Resolve the end of a silence that ends at a local time.

    Args:
        until: the local time, and its day, counted from the day of `begin`.
        timezone: the name of the IANA time zone. If the clocks skip the time on that day, the silence ends at
            the jump; if it occurs twice, the second one counts.
        begin: the start of the silence, aware.
    """
    zone = ZoneInfo(timezone)
    hours, minutes = map(int, until.time.split(":"))
    today, time = begin.astimezone(zone).toordinal(), 60 * hours + minutes
    if until.days is not None:
        return to_datetime(find_local_instant(today + until.days, time, zone, second=True))
    soonest = to_datetime(find_local_instant(today, time, zone, second=True))
    return soonest if soonest > begin else to_datetime(find_local_instant(today + 1, time, zone, second=True))
