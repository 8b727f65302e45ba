"""The windows of a schedule, and local times: from when to when a silence mutes. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.alerts.muting_schemas import LocalTime
from app.platform.kernel.instants import from_datetime, to_datetime
from app.platform.kernel.weekly_hours import find_local_instant, make_weekly_hours


class SilenceWindow(NamedTuple):
    """A time that goes from `start` (None: never) to `end` (None: for ever)."""

    start: datetime | None
    end: datetime | None


def find_next_window(schedule: Sequence[Mapping[str, Any]], timezone: str, now: datetime) -> SilenceWindow:
    """Give the window that is on, or else the next one.

    Args:
        schedule: spans as `app.platform.kernel.weekly_hours.make_weekly_hours` takes them.
        timezone: the name of an IANA zone, in which they are meant.
        now: aware. It is the start of a window that is on.
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
    """Find when a silence ends that ends at a local time.

    Args:
        until: the time, and of which day it is, counted from the day of `begin`.
        timezone: the name of an IANA zone. Of a time that does not exist there on that day the moment is
            meant at which the clock jumps; of one that exists twice the second.
        begin: when the silence begins, aware.
    """
    zone = ZoneInfo(timezone)
    hours, minutes = map(int, until.time.split(":"))
    today, time = begin.astimezone(zone).toordinal(), 60 * hours + minutes
    if until.days is not None:
        return to_datetime(find_local_instant(today + until.days, time, zone, second=True))
    soonest = to_datetime(find_local_instant(today, time, zone, second=True))
    return soonest if soonest > begin else to_datetime(find_local_instant(today + 1, time, zone, second=True))
