"""The arithmetic of readings."""

import struct
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.kernel.errors import InvalidError
from app.quarantine.queries import decode_payload
from app.timeseries.series.series_parameters import (
    MAX_BUCKETS,
    BucketWidth,
    complete_range,
    to_shortest_decimal,
)

PM = METRICS_BY_NAME["pm2_5"]
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


@given(st.decimals(min_value=0, max_value=99_999, places=1))
def test_what_has_six_digits_comes_back_as_it_was(value: object) -> None:
    assert to_shortest_decimal(PM, float(str(value))) == float(str(value))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_decimal_is_the_same_float(value: float) -> None:
    short = to_shortest_decimal(PM, value)
    assert struct.pack("f", short) == struct.pack("f", value)
    assert to_shortest_decimal(PM, short) == short


def test_double_precision_is_left_alone() -> None:
    assert to_shortest_decimal(METRICS_BY_NAME["pressure"], 1002.37321) == 1002.37321
    assert to_shortest_decimal(PM, 1e-60) == 0.0
    assert to_shortest_decimal(PM, 1e-45) == 1e-45


@pytest.mark.parametrize(
    ("text", "seconds", "local"),
    [
        ("30s", 30, False),
        ("15m", 900, False),
        ("1h", 3600, False),
        ("24h", 86_400, False),
        ("1d", 86_400, True),
        ("2w", 1_209_600, True),
    ],
)
def test_buckets(text: str, seconds: int, local: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert BucketWidth.parse(text) == BucketWidth(text, seconds, local)


@pytest.mark.parametrize(
    "text", ["", "1", "m", "0m", "-1m", "1.5h", "1H", "1M", "1 h", "01h", "1y", "3661d", "٣m"]
)
def test_odd_buckets(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        BucketWidth.parse(text)
    assert caught.value.code == "invalid_bucket"


def test_a_span_of_exactly_as_many_buckets_as_are_given_is_taken() -> None:
    bucket = BucketWidth.parse("1m")
    bucket.check_span(NOON, NOON + timedelta(minutes=MAX_BUCKETS))
    with pytest.raises(InvalidError) as caught:
        bucket.check_span(NOON, NOON + timedelta(minutes=MAX_BUCKETS, seconds=1))
    assert caught.value.code == "range_too_large"
    assert caught.value.extra["suggested_bucket"] == "5m"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        # 23 hours when the clocks go forward, 25 when they go back.
        ("2026-03-28T23:00:00+00:00", "2026-03-29T22:00:00+00:00"),
        ("2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00"),
        ("2026-06-30T22:00:00+00:00", "2026-07-01T22:00:00+00:00"),
    ],
)
def test_a_local_day_ends_at_the_next_midnight(start: str, end: str) -> None:
    paris = ZoneInfo("Europe/Paris")
    assert BucketWidth.parse("1d").end_of(datetime.fromisoformat(start), paris) == datetime.fromisoformat(end)
    day = BucketWidth.parse("24h").end_of(datetime.fromisoformat(start), paris) - datetime.fromisoformat(
        start
    )
    assert day == timedelta(hours=24)


def test_ranges() -> None:
    assert complete_range(None, None, NOON) == (NOON - timedelta(days=1), NOON)
    assert complete_range(None, NOON - timedelta(days=9), NOON) == (
        NOON - timedelta(days=10),
        NOON - timedelta(days=9),
    )
    for start, end in ((NOON, None), (NOON, NOON), (NOON, NOON - timedelta(seconds=1))):
        with pytest.raises(InvalidError):
            complete_range(start, end, NOON)


@given(st.text(), st.integers(min_value=0, max_value=200))
def test_text_that_was_cut_stays_text(text: str, cut: int) -> None:
    data = text.encode("utf-8", "ignore")
    shown, encoding = decode_payload(data[:cut], whole=len(data) <= cut)
    assert encoding == "utf-8"
    assert data.startswith(shown.encode())
    assert len(data[:cut]) - len(shown.encode()) < 4


def test_what_is_no_text_is_base64() -> None:
    assert decode_payload(b"\xff", whole=True) == ("/w==", "base64")
    assert decode_payload(b"\xc3", whole=True) == ("ww==", "base64")
    assert decode_payload(b"", whole=True) == ("", "utf-8")
