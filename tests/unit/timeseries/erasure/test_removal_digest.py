"""The proof of an erasure, and what a range cuts in two."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from app.timeseries.erasure.box_data_removal import ErasureRange, find_partial_days, find_partial_hours
from app.timeseries.erasure.erasure_requests import EMPTY_REMOVAL_DIGEST, extend_removal_digest
from app.timeseries.erasure.worker import format_removal_lines

PARIS = ZoneInfo("Europe/Paris")
AT = datetime(2026, 10, 25, 10, 30, tzinfo=UTC)


def test_a_chain_does_not_depend_on_how_it_was_cut() -> None:
    rows = [(AT + timedelta(microseconds=place), "gunshot") for place in range(5)]
    whole = extend_removal_digest(EMPTY_REMOVAL_DIGEST, format_removal_lines("events", "box-1", rows))
    assert (
        extend_removal_digest(
            extend_removal_digest(EMPTY_REMOVAL_DIGEST, format_removal_lines("events", "box-1", rows[:2])),
            format_removal_lines("events", "box-1", rows[2:]),
        )
        == whole
    )
    assert (
        extend_removal_digest(
            EMPTY_REMOVAL_DIGEST, format_removal_lines("events", "box-1", [*rows[1:], rows[0]])
        )
        != whole
    )
    assert extend_removal_digest(EMPTY_REMOVAL_DIGEST, []) == EMPTY_REMOVAL_DIGEST


def test_what_is_hashed_is_what_the_guide_says() -> None:
    line = b"samples box-1 2026-10-25T10:30:00.000000Z"
    paris = AT.astimezone(PARIS)
    assert (
        extend_removal_digest(EMPTY_REMOVAL_DIGEST, format_removal_lines("samples", "box-1", [(paris,)]))
        == sha256(bytes(32) + line).hexdigest()
    )


def test_a_range_cuts_two_hours_and_two_days_at_most() -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    whole = AT.replace(minute=0)
    assert find_partial_hours(ErasureRange(AT, AT + day)) == [
        (whole, whole + hour),
        (whole + day, whole + day + hour),
    ]
    assert find_partial_hours(ErasureRange(AT, AT + timedelta(minutes=5))) == [(whole, whole + hour)]
    assert find_partial_hours(ErasureRange(whole, whole + hour)) == []
    # A day of 25 hours: the clocks go back.
    begun = datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert find_partial_days(ErasureRange(AT, AT + hour), PARIS) == [(begun, begun + timedelta(hours=25))]
    assert find_partial_days(ErasureRange(begun, begun + timedelta(hours=25)), PARIS) == []
