"""Parses and formats times: RFC 3339, milliseconds since the epoch, ISO 8601 durations.

An instant is an `int` of microseconds since 1970-01-01T00:00:00Z, everywhere. This module reads no clock:
callers pass the current time.

It accepts RFC 3339 exactly as its grammar says: `T` and `Z` in either case (section 5.6), a full zone (`Z`,
`+01:00`; `-00:00` is UTC), any number of fraction digits, of which those below a microsecond are dropped. It
rejects a space instead of the `T`, hour 24, second 60 and every other ISO 8601 form, and never guesses a
time.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

US_PER_S: Final = 1_000_000
US_PER_MS: Final = 1_000
HOUR_US: Final = 3_600 * US_PER_S
DAY_US: Final = 24 * HOUR_US

EARLIEST_US: Final = 946_684_800 * US_PER_S
"""2000-01-01T00:00:00Z: no measurement is older. A clock that was never set starts at 1970 or 1980."""

POSTGRES_EPOCH_US: Final = 946_684_800 * US_PER_S
"""2000-01-01T00:00:00Z: PostgreSQL counts time from it, also in the binary form of COPY."""

LATEST_US: Final = 253_370_764_800 * US_PER_S
"""9999-01-01T00:00:00Z, excluded: many systems use the year 9999 for "never"."""

MAX_INTEGER: Final = 2**53
"""The largest integer that every JSON parser represents exactly."""

MAX_DURATION_S: Final = 366 * 86_400

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Without a zone, which isoformat would show as +00:00.
_EPOCH_IN_UTC: Final = _EPOCH.replace(tzinfo=None)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_FIRST_US: Final = (date(1, 1, 1).toordinal() - _EPOCH_DAY) * 86_400 * US_PER_S
_END_US: Final = (date(9999, 12, 31).toordinal() + 1 - _EPOCH_DAY) * 86_400 * US_PER_S
# A number in this range is far more often seconds of 2000 to 2100, sent by mistake, than an instant of
# January 1970.
_SECONDS: Final = range(946_684_800, 4_102_444_800)
_TEXT_LIMIT: Final = 64
_HOURS, _MINUTES, _SECONDS_PER_MINUTE = 24, 60, 60

_INSTANT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
_OTHER_UNITS: Final = re.compile(r"P[0-9.,]+[WMY].*")
_DURATION: Final = re.compile(
    r"P(?:([0-9]{1,9})D)?(?:(T)(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)S)?)?"
)


def parse_rfc3339(text: str) -> int:
    """Parse an RFC 3339 time with a zone.

    Returns:
        Microseconds since the epoch, in the years 1 to 9999; digits past the microsecond are dropped.

    Raises:
        RejectedError: `invalid_time`, `time_without_zone` or `time_out_of_range`.
    """
    match = _INSTANT.fullmatch(text) if len(text) <= _TEXT_LIMIT else None
    if match is None:
        raise RejectedError(
            "invalid_time", f"{format_rejected_value(text)} is not RFC 3339, such as 2026-11-24T10:00:00Z"
        )
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, utc, sign, zone_hour, zone_minute = match.group(7, 8, 9, 10, 11)
    if hour >= _HOURS or minute >= _MINUTES or second >= _SECONDS_PER_MINUTE:
        raise RejectedError(
            "invalid_time",
            f"{format_rejected_value(text)}: hours go to 23, minutes and seconds to 59 (midnight is 00:00 of "
            "the next day, a leap second is sent as the second before it)",
        )
    if utc is None and sign is None:
        raise RejectedError(
            "time_without_zone",
            f"{format_rejected_value(text)} has no zone: add Z or an offset such as +01:00",
        )
    if year == 0:
        raise RejectedError("time_out_of_range", f"{format_rejected_value(text)}: there is no year 0000")
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise RejectedError(
            "invalid_time", f"{format_rejected_value(text)}: this day does not exist"
        ) from None
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    if sign is not None:
        seconds -= _offset_s(text, sign, int(zone_hour), int(zone_minute))
    micros = seconds * US_PER_S + (int(fraction[:6].ljust(6, "0")) if fraction else 0)
    if not _FIRST_US <= micros < _END_US:
        raise RejectedError(
            "time_out_of_range", f"{format_rejected_value(text)} is outside the years 1 to 9999"
        )
    return micros


def _offset_s(text: str, sign: str, hours: int, minutes: int) -> int:
    """Return a zone's offset from UTC in seconds."""
    if hours >= _HOURS or minutes >= _MINUTES:
        raise RejectedError(
            "invalid_time", f"{format_rejected_value(text)}: a zone goes from -23:59 to +23:59"
        )
    offset = hours * 3_600 + minutes * 60
    return -offset if sign == "-" else offset


def parse_epoch_ms(value: int) -> int:
    """Convert milliseconds since the epoch into microseconds, without guessing the unit.

    Raises:
        RejectedError: `integer_too_large` beyond 2^53; `time_out_of_range` for a negative number or one
            outside the years 2000 to 9998, with a hint where it looks like seconds.
    """
    if abs(value) > MAX_INTEGER:
        raise RejectedError(
            "integer_too_large",
            f"time {format_rejected_value(value)} exceeds 2^53: send milliseconds since 1970",
        )
    if value < 0:
        raise RejectedError("time_out_of_range", f"time {value} is negative: send milliseconds since 1970")
    if value in _SECONDS:
        raise RejectedError(
            "time_out_of_range", f"time {value} looks like seconds: send milliseconds (times 1000)"
        )
    micros = value * US_PER_MS
    if micros >= LATEST_US:
        raise RejectedError(
            "time_out_of_range", f"time {value} is after the year 9998: send milliseconds since 1970"
        )
    check_range(micros)
    return micros


def check_range(time_us: int) -> None:
    """Reject an instant outside the years 2000 to 9998.

    Raises:
        RejectedError: `time_out_of_range`.
    """
    if time_us < EARLIEST_US:
        raise RejectedError(
            "time_out_of_range",
            f"time {format_us(time_us)} is before 2000: check whether the box's clock is set",
        )
    if time_us >= LATEST_US:
        raise RejectedError("time_out_of_range", f"time {format_us(time_us)} is after the year 9998")


def format_us(time_us: int) -> str:
    """Format an instant as RFC 3339 in UTC, with no, 3 or 6 fraction digits as needed.

    Raises:
        OverflowError: The instant is outside the years 1 to 9999.
    """
    moment = _EPOCH_IN_UTC + timedelta(microseconds=time_us)
    if time_us % US_PER_S == 0:
        return moment.isoformat(timespec="seconds") + "Z"
    return moment.isoformat(timespec="microseconds" if time_us % US_PER_MS else "milliseconds") + "Z"


def to_datetime(time_us: int) -> datetime:
    """Return an instant as a datetime in UTC, exactly (OverflowError outside the years 1 to 9999)."""
    return _EPOCH + timedelta(microseconds=time_us)


def from_datetime(moment: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exactly.

    Raises:
        RejectedError: `time_without_zone` for a naive one.
    """
    if moment.utcoffset() is None:
        raise RejectedError("time_without_zone", f"{moment.isoformat()} has no zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_iso_duration(text: str) -> float:
    """Parse an ISO 8601 duration of days, hours, minutes and seconds: `P[nD][T[nH][nM][nS]]`.

    Numbers are integers, except seconds, which may have up to six decimals. Months and years are rejected
    because their length varies, and weeks because no client of the API writes them.

    Returns:
        Seconds, at most 366 days.

    Raises:
        RejectedError: `invalid_duration`.
    """
    match = _DURATION.fullmatch(text) if len(text) <= _TEXT_LIMIT else None
    days, designator, hours, minutes, seconds = match.groups() if match else (None,) * 5
    if match is None and len(text) <= _TEXT_LIMIT and _OTHER_UNITS.fullmatch(text):
        raise RejectedError(
            "invalid_duration",
            f"{format_rejected_value(text)}: weeks, months and years are not accepted: write days (P7D); "
            f"minutes are PT10M",
        )
    # The pattern accepts a T with nothing after it, and a P alone; the standard does not.
    if days is None and hours is None and minutes is None and seconds is None:
        raise RejectedError(
            "invalid_duration",
            f"{format_rejected_value(text)} is not an ISO 8601 duration such as PT10M or P1DT12H",
        )
    if designator is not None and hours is None and minutes is None and seconds is None:
        raise RejectedError("invalid_duration", f"{format_rejected_value(text)}: nothing follows the T")
    total = int(days or 0) * 86_400 + int(hours or 0) * 3_600 + int(minutes or 0) * 60 + float(seconds or 0)
    if total > MAX_DURATION_S:
        raise RejectedError("invalid_duration", f"{format_rejected_value(text)} is longer than 366 days")
    return total
