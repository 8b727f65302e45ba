"""Instants and durations: RFC 3339 as its grammar stands, and nothing else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.instants import (
    EARLIEST_US,
    LATEST_US,
    check_range,
    format_us,
    from_datetime,
    parse_epoch_ms,
    parse_iso_duration,
    parse_rfc3339,
    to_datetime,
)
from app.platform.kernel.rejection_codes import RejectedError

TEN = 1_795_514_400_000_000  # 2026-11-24T10:00:00Z


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("2026-11-24T10:00:00Z", TEN),
        ("2026-11-24t10:00:00z", TEN),
        ("2026-11-24T11:00:00+01:00", TEN),
        ("2026-11-24T00:30:00-09:30", TEN),
        ("2026-11-24T10:00:00-00:00", TEN),
        ("2026-11-25T09:59:00+23:59", TEN),
        ("2026-11-24T10:00:00.5Z", TEN + 500_000),
        ("2026-11-24T10:00:00.125+00:00", TEN + 125_000),
        ("2026-11-24T10:00:00.000001Z", TEN + 1),
        ("2026-11-24T10:00:00.9999999Z", TEN + 999_999),
        ("2026-11-24T10:00:00.000000999999999999999Z", TEN),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("2000-01-01T00:00:00Z", EARLIEST_US),
        ("9999-01-01T00:00:00Z", LATEST_US),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ],
)
def test_taken(text: str, time_us: int) -> None:
    assert parse_rfc3339(text) == time_us


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-11-24T10:00:00", "time_without_zone"),
        ("2026-11-24T10:00:00.123", "time_without_zone"),
        ("2026-11-24T24:00:00Z", "invalid_time"),
        ("2026-11-24T24:00:00", "invalid_time"),
        ("2026-11-24T23:59:60Z", "invalid_time"),
        ("2016-12-31T23:59:60Z", "invalid_time"),
        ("2026-11-24T10:60:00Z", "invalid_time"),
        ("2026-11-24T25:00:00Z", "invalid_time"),
        ("2026-02-29T10:00:00Z", "invalid_time"),
        ("2026-13-01T10:00:00Z", "invalid_time"),
        ("2026-00-01T10:00:00Z", "invalid_time"),
        ("2026-11-00T10:00:00Z", "invalid_time"),
        ("2026-11-24T10:00:00+24:00", "invalid_time"),
        ("2026-11-24T10:00:00+01:60", "invalid_time"),
        ("2026-11-24T10:00:00+0100", "invalid_time"),
        ("2026-11-24T10:00:00+01", "invalid_time"),
        ("2026-11-24T10:00:00 Z", "invalid_time"),
        ("2026-11-24 10:00:00Z", "invalid_time"),
        ("2026-11-24_10:00:00Z", "invalid_time"),
        ("2026-11-24T10:00:00.Z", "invalid_time"),
        ("2026-11-24T10:00:00,5Z", "invalid_time"),
        ("2026-11-24T10:00Z", "invalid_time"),
        ("2026-11-24", "invalid_time"),
        ("20261124T100000Z", "invalid_time"),
        ("2026-W48-2T10:00:00Z", "invalid_time"),
        ("2026-328T10:00:00Z", "invalid_time"),
        ("+02026-11-24T10:00:00Z", "invalid_time"),
        ("-2026-11-24T10:00:00Z", "invalid_time"),
        ("2026-11-24T10:00:00Z\n", "invalid_time"),
        (" 2026-11-24T10:00:00Z", "invalid_time"),
        ("2026-11-24T10:00:00Z[Europe/Paris]", "invalid_time"),
        ("\uff12\uff10\uff12\uff16-11-24T10:00:00Z", "invalid_time"),
        ("2026-11-24T10:00:00\u221201:00", "invalid_time"),
        ("2026-11-24T10:00:00." + "1" * 60 + "Z", "invalid_time"),
        ("1795514400000", "invalid_time"),
        ("now", "invalid_time"),
        ("", "invalid_time"),
        ("0000-01-01T00:00:00Z", "time_out_of_range"),
        ("0001-01-01T00:00:00+00:01", "time_out_of_range"),
        ("9999-12-31T23:59:59-00:01", "time_out_of_range"),
    ],
)
def test_refused(text: str, code: str) -> None:
    with pytest.raises(RejectedError) as refused:
        parse_rfc3339(text)
    assert refused.value.code == code
    assert refused.value.detail.isascii()


@pytest.mark.parametrize(
    ("value", "code", "word"),
    [
        (-1, "time_out_of_range", "negative"),
        (-1_795_514_400_000, "time_out_of_range", "negative"),
        (0, "time_out_of_range", "1970"),
        (1_795_514_400, "time_out_of_range", "seconds"),
        (946_684_799_999, "time_out_of_range", "1999"),
        (253_370_764_800_000, "time_out_of_range", "9998"),
        (1_795_514_400_000_000, "time_out_of_range", "milliseconds"),
        (2**53 + 1, "integer_too_large", "2\\^53"),
        (-(2**53) - 1, "integer_too_large", "2\\^53"),
        (10**300, "integer_too_large", "bits"),
    ],
)
def test_milliseconds_refused(value: int, code: str, word: str) -> None:
    with pytest.raises(RejectedError, match=word) as refused:
        parse_epoch_ms(value)
    assert refused.value.code == code


def test_milliseconds_taken() -> None:
    assert parse_epoch_ms(TEN // 1_000) == TEN
    assert parse_epoch_ms(946_684_800_000) == EARLIEST_US
    assert parse_epoch_ms(253_370_764_799_999) == LATEST_US - 1_000


def test_range() -> None:
    check_range(EARLIEST_US)
    check_range(LATEST_US - 1)
    for outside in (EARLIEST_US - 1, LATEST_US):
        with pytest.raises(RejectedError, match="time_out_of_range"):
            check_range(outside)


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (TEN, "2026-11-24T10:00:00Z"),
        (TEN + 125_000, "2026-11-24T10:00:00.125Z"),
        (TEN + 1, "2026-11-24T10:00:00.000001Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_written(time_us: int, text: str) -> None:
    assert format_us(time_us) == text
    assert parse_rfc3339(text) == time_us


def test_past_the_year_9999_nothing_is_written() -> None:
    with pytest.raises(OverflowError):
        format_us(253_402_300_800_000_000)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_written_and_parsed_is_the_same(time_us: int) -> None:
    assert parse_rfc3339(format_us(time_us)) == time_us
    assert from_datetime(to_datetime(time_us)) == time_us


@given(
    st.datetimes(datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-12-31")),
    st.integers(-1439, 1439),
)
def test_agrees_with_datetime(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_rfc3339(moment.isoformat()) == from_datetime(moment)
    assert to_datetime(from_datetime(moment)) == moment


def test_datetimes_need_a_zone() -> None:
    assert from_datetime(datetime(2026, 11, 24, 10, tzinfo=UTC)) == TEN
    with pytest.raises(RejectedError, match="time_without_zone"):
        from_datetime(datetime.fromisoformat("2026-11-24T10:00:00"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT10M", 600),
        ("PT0S", 0),
        ("PT1H30M", 5_400),
        ("P1DT12H", 129_600),
        ("P1D", 86_400),
        ("PT0.5S", 0.5),
        ("PT90S", 90),
        ("P366D", 366 * 86_400),
        ("PT1H0M0.000001S", 3_600.000001),
    ],
)
def test_durations_taken(text: str, seconds: float) -> None:
    assert parse_iso_duration(text) == seconds


def _told_to_write_days(text: str) -> bool:
    with pytest.raises(RejectedError) as refused:
        parse_iso_duration(text)
    return "write days (P7D)" in refused.value.detail


@pytest.mark.parametrize("text", ["P1W", "P2.5W", "P1M", "P1Y", "P1Y2M", "P1WT1H"])
def test_who_writes_weeks_is_told_to_write_days(text: str) -> None:
    assert _told_to_write_days(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "P", "PT", "P1DT", "10M", "PT10", "pt10m", "P10M", "P1Y", "P1W", "PT-1M", "-PT1M", "PT1.5M",
        "PT.5S", "PT1.S", "PT1,5S", "PT1M1H", "PT1M ", "PT1M\n", "PT\u0661M", "P367D", "P366DT0.1S",
        "PT1.0000001S", "PT9999999999S", "PT" + "9" * 100 + "S", "600", "10m",
    ],
)  # fmt: skip
def test_durations_refused(text: str) -> None:
    with pytest.raises(RejectedError) as refused:
        parse_iso_duration(text)
    assert refused.value.code == "invalid_duration"
