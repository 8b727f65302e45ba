"""Windows of an export in buckets: they cover its span, and cut no bucket in two but the span does."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.errors import InvalidError
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, to_datetime
from app.timeseries.exports.time_bucket_layout import BucketLayout

WIDTHS = ("1s", "7m", "1h", "5h", "1d", "3d", "1w", "52w")
# In Beirut and in Santiago clocks jump at midnight, in Lord Howe by half an hour.
ZONES = ("UTC", "Europe/Paris", "Asia/Beirut", "America/Santiago", "Australia/Lord_Howe")
INSTANTS = st.integers(EARLIEST_US, 1_800_000_000_000_000).map(to_datetime)
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


@given(
    st.sampled_from(WIDTHS),
    st.sampled_from(ZONES),
    INSTANTS,
    st.integers(1, 900),
    st.tuples(st.integers(1, 50), st.sampled_from([1, 60, 3_600])),
)
def test_windows_cover_a_span_and_end_as_buckets_do(
    width: str, name: str, first: datetime, tenths: int, most: tuple[int, int]
) -> None:
    zone, (rows, interval_s) = ZoneInfo(name), most
    bucketing = BucketLayout.of(width, None, first, first + timedelta(seconds=1))
    last = first + bucketing.bucket.width * tenths / 10
    windows = list(bucketing.windows(first, last, zone, interval_s, rows))
    assert (windows[0][0], windows[-1][1]) == (first, last)
    for (_, end), (begin, _) in pairwise(windows):
        assert begin == end
        assert bucketing.begin(end, zone) == end
    for begin, end in windows:
        edge, buckets = bucketing.begin(begin, zone), 0
        while edge < end:
            edge, buckets = bucketing.after_row(edge, zone), buckets + 1
        assert 1 <= buckets <= rows


@given(st.sampled_from(WIDTHS), st.sampled_from(ZONES), INSTANTS)
def test_a_row_s_bucket_is_found_again(width: str, name: str, moment: datetime) -> None:
    zone = ZoneInfo(name)
    bucketing = BucketLayout.of(width, "avg", moment, moment + timedelta(seconds=1))
    begun = bucketing.begin(moment, zone)
    assert begun <= moment < bucketing.after_row(moment, zone)
    assert bucketing.from_row(begun, zone) == begun
    assert bucketing.from_row(begun + timedelta(microseconds=1), zone) == bucketing.after_row(begun, zone)


def test_at_the_far_ends_of_time_there_is_an_end() -> None:
    first, last = to_datetime(EARLIEST_US), to_datetime(LATEST_US)
    bucketing = BucketLayout.of("52w", None, first, last)
    windows = list(bucketing.windows(first, last, ZoneInfo("Pacific/Auckland"), 60, 5_000))
    assert windows[-1][1] == last


def test_columns_are_of_each_metric_and_of_what_it_has() -> None:
    bucketing = BucketLayout.of("1h", "avg,l10,p95,count", NOON, NOON + timedelta(days=1))
    columns = bucketing.columns(["pm2_5", "laeq"])
    assert [column.name for column in columns] == [
        *("pm2_5_avg", "pm2_5_p95", "pm2_5_count"),
        *("laeq_avg", "laeq_l10", "laeq_p95", "laeq_count"),
    ]
    assert [column.unit for column in columns] == ["µg/m³", "µg/m³", "1", "dB", "dB", "dB", "1"]
    assert columns[4].description.endswith("exceeded 10 % of the time")
    with pytest.raises(InvalidError, match="sound levels"):
        BucketLayout.of("1h", "l10", NOON, NOON + timedelta(days=1)).columns(["pm2_5"])


def test_what_one_bucket_would_look_at_is_bounded() -> None:
    spans = NOON, NOON + timedelta(days=900)
    BucketLayout.of("52w", "avg", *spans).check_samples(1)
    BucketLayout.of("52w", "p50", *spans).check_samples(60)
    with pytest.raises(InvalidError) as refused:
        BucketLayout.of("52w", "p50", *spans).check_samples(1)
    assert refused.value.code == "range_too_large"
