"""Parses bucket widths and time ranges of series, and rounds values to the stored precision.

Pure: no database, no HTTP, no clock.
"""

import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, to_datetime
from app.platform.kernel.rejection_codes import format_rejected_value

MAX_BUCKETS: Final = 10_000
DEFAULT_SPAN: Final = timedelta(days=1)
EARLIEST_TIME: Final = to_datetime(EARLIEST_US)
LATEST_TIME: Final = to_datetime(LATEST_US)
_BUCKET: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LONGEST_S: Final = 3_660 * 86_400
_SUGGESTED: Final = ("1s", "5s", "15s", "1m", "5m", "15m", "1h", "6h", "1d", "1w", "4w", "52w")
# A four-byte float preserves any six decimal digits, and never needs more than nine.
_SURE_DIGITS, _MOST_DIGITS = 6, 9
_SMALLEST_NORMAL: Final = 2.0**-126


def find_metric(name: str) -> Metric:
    """Return a metric of the catalogue (InvalidError `unknown_metric`)."""
    metric = METRICS_BY_NAME.get(name)
    if metric is None:
        raise InvalidError(
            f"The metric {format_rejected_value(name)} is not in the catalogue: see GET /v1/metrics.",
            code="unknown_metric",
        )
    return metric


def to_shortest_decimal(metric: Metric, value: float) -> float:
    """Return a value as its column stores it: the shortest decimal with the same four-byte float.

    12.4 stays 12.4, though the nearest four-byte float is 12.399999618530273. PostgreSQL writes `real` in the
    same way, so that all endpoints return the same number.
    """
    if metric.storage != "real":
        return value
    packed = struct.pack("f", value)
    (stored,) = struct.unpack("f", packed)
    first = _SURE_DIGITS if abs(stored) >= _SMALLEST_NORMAL else 1
    for digits in range(first, _MOST_DIGITS):
        short = float(f"{stored:.{digits}g}")
        if struct.pack("f", short) == packed:
            return short
    return float(f"{stored:.{_MOST_DIGITS}g}")


def clamp_span(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Limit a span to the times that samples can have; beyond them bucket arithmetic would overflow."""
    return max(first, EARLIEST_TIME), min(last, LATEST_TIME)


def complete_range(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Complete a range: by default it ends now and is 24 hours long (InvalidError `range_reversed`)."""
    last = end if end is not None else now
    first = start if start is not None else last - DEFAULT_SPAN
    if first >= last:
        raise InvalidError("`from` must be before `to` (which is now by default).", code="range_reversed")
    return first, last


@dataclass(frozen=True, slots=True)
class BucketWidth:
    """The width of a bucket, such as `15m`.

    Days and weeks are local to the site's time zone, and weeks begin on Monday. Shorter buckets are aligned
    to UTC.
    """

    text: str
    seconds: int
    local: bool

    @classmethod
    def parse(cls, text: str) -> "BucketWidth":
        """Parse a width: a whole number and s, m, h, d or w (InvalidError `invalid_bucket`)."""
        match = _BUCKET.fullmatch(text)
        seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
        if match is None or seconds > _LONGEST_S:
            raise InvalidError(
                f"The bucket {format_rejected_value(text)} is invalid. Use a width such as 30s, 15m, 1h, 1d "
                f"or 1w, of ten years at most.",
                code="invalid_bucket",
            )
        return cls(text, seconds, match[2] in "dw")

    @property
    def width(self) -> timedelta:
        """The nominal width; a local day may have 23 to 25 hours."""
        return timedelta(seconds=self.seconds)

    def check_span(self, first: datetime, last: datetime) -> None:
        """Refuse a range of more than 10,000 buckets (InvalidError `range_too_large`)."""
        span = (last - first).total_seconds()
        if span <= self.seconds * MAX_BUCKETS:
            return
        fitting = next(
            (text for text in _SUGGESTED if span <= BucketWidth.parse(text).seconds * MAX_BUCKETS),
            _SUGGESTED[-1],
        )
        raise InvalidError(
            f"The range has more than {MAX_BUCKETS} buckets of {self.text}. Use `bucket={fitting}`, or "
            f"request {timedelta(seconds=self.seconds * MAX_BUCKETS)} at a time.",
            code="range_too_large",
            extra={"suggested_bucket": fitting, "maximum_buckets": MAX_BUCKETS},
        )

    def end_of(self, start: datetime, zone: ZoneInfo) -> datetime:
        """Return the end (UTC) of the bucket that begins at `start`; at most the end of the year 9999."""
        try:
            if not self.local:
                return start + self.width
            # The same local time on a later date, even across a change of clocks.
            return (start.astimezone(zone) + self.width).astimezone(UTC)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)
