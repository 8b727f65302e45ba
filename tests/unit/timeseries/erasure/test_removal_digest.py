"""The proof of an erasure, and what a range cuts in two."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from app.timeseries.erasure.erasure_sql import Range, cut_days, cut_hours
from app.timeseries.erasure.removal_digest import BEGIN, extend
from app.timeseries.erasure.worker import lines

PARIS = ZoneInfo("Europe/Paris")
AT = datetime(2026, 10, 25, 10, 30, tzinfo=UTC)


def test_a_chain_does_not_depend_on_how_it_was_cut() -> None:
    rows = [(AT + timedelta(microseconds=place), "gunshot") for place in range(5)]
    whole = extend(BEGIN, lines("events", "box-1", rows))
    assert (
        extend(extend(BEGIN, lines("events", "box-1", rows[:2])), lines("events", "box-1", rows[2:])) == whole
    )
    assert extend(BEGIN, lines("events", "box-1", [*rows[1:], rows[0]])) != whole
    assert extend(BEGIN, []) == BEGIN


def test_what_is_hashed_is_what_the_guide_says() -> None:
    line = b"samples box-1 2026-10-25T10:30:00.000000Z"
    paris = AT.astimezone(PARIS)
    assert extend(BEGIN, lines("samples", "box-1", [(paris,)])) == sha256(bytes(32) + line).hexdigest()


def test_a_range_cuts_two_hours_and_two_days_at_most() -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    whole = AT.replace(minute=0)
    assert cut_hours(Range(AT, AT + day)) == [(whole, whole + hour), (whole + day, whole + day + hour)]
    assert cut_hours(Range(AT, AT + timedelta(minutes=5))) == [(whole, whole + hour)]
    assert cut_hours(Range(whole, whole + hour)) == []
    # A day of 25 hours: the clocks go back.
    begun = datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert cut_days(Range(AT, AT + hour), PARIS) == [(begun, begun + timedelta(hours=25))]
    assert cut_days(Range(begun, begun + timedelta(hours=25)), PARIS) == []
