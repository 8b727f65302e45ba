"""The windows of a schedule: from when to when hours of the week are on next. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.core.hours import make_hours
from app.core.instants import from_datetime, to_datetime


class Window(NamedTuple):
    """A time that goes from `start` (None: never) to `end` (None: for ever)."""

    start: datetime | None
    end: datetime | None


def next_window(schedule: Sequence[Mapping[str, Any]], timezone: str, now: datetime) -> Window:
    """Give the window that is on, or else the next one.

    Args:
        schedule: spans as `app.core.hours.make_hours` takes them.
        timezone: the name of an IANA zone, in which they are meant.
        now: aware. It is the start of a window that is on.
    """
    hours = make_hours(schedule, timezone)
    start: int | None = from_datetime(now)
    if not hours.active(from_datetime(now)):
        start = hours.next_change(from_datetime(now))
    if start is None:
        return Window(None, None)
    end = hours.next_change(start)
    return Window(to_datetime(start), None if end is None else to_datetime(end))
