"""When the next attempt of a delivery is due.

Pure: the schedule is data, now and chance are arguments. Must not know what an attempt is.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_MOST_DIGITS: Final = 9
MOST_S: Final = float("9" * _MOST_DIGITS)
"""The longest wait that a Retry-After is read as: thirty years are as good as for ever."""


def compute_next_attempt(
    schedule: Sequence[float],
    attempt_count: int,
    now: datetime,
    jitter: float,
    random: Callable[[], float],
) -> datetime | None:
    """Return when the attempt after `attempt_count` of them is due.

    Args:
        schedule: The wait before each attempt in seconds, counted from the one before it.
        attempt_count: Attempts made so far; 0 for a new or replayed delivery.
        now: When the last attempt ended, or when the delivery was made.
        jitter: The share by which a wait is stretched at most (0 to 1), so that what failed together does not
            come back together. A wait is never shortened: the schedule is what clients are told.
        random: Gives a number in [0, 1).

    Returns:
        The instant; None when the schedule is used up and the delivery is given up.
    """
    if attempt_count >= len(schedule):
        return None
    return now + timedelta(seconds=schedule[attempt_count] * (1 + jitter * random()))


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Read a Retry-After (RFC 9110, 10.2.3): in how many seconds, 0 to `MOST_S`; None where it says nothing.

    Args:
        text: The field's value: seconds, or a date in one of HTTP's three forms.
        now: Aware.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else MOST_S
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # no date; a year, or a zone, that no number holds
        return None
    if at.tzinfo is None:  # as in the oldest of the three forms
        at = at.replace(tzinfo=UTC)
    return min(MOST_S, max(0.0, (at - now).total_seconds()))
