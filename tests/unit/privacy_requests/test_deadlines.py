"""Months of the calendar: when an answer is due."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.privacy_requests.service import add_months, compute_due_at


@pytest.mark.parametrize(
    ("received", "answer", "extended"),
    [
        ("2026-11-24T10:00:00", "2026-12-24T10:00:00", "2027-02-24T10:00:00"),
        ("2026-01-31T23:59:59", "2026-02-28T23:59:59", "2026-04-30T23:59:59"),
        ("2028-01-30T00:00:00", "2028-02-29T00:00:00", "2028-04-30T00:00:00"),
        ("2026-12-31T12:00:00", "2027-01-31T12:00:00", "2027-03-31T12:00:00"),
    ],
)
def test_a_month_is_one_of_the_calendar(received: str, answer: str, extended: str) -> None:
    at = datetime.fromisoformat(received).replace(tzinfo=UTC)
    assert compute_due_at(at).isoformat() == f"{answer}+00:00"
    assert compute_due_at(at, extended=True).isoformat() == f"{extended}+00:00"


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 (hypothesis adds the zone)
    st.integers(0, 60),
)
def test_so_many_months_are_so_many_names_of_months(at: datetime, months: int) -> None:
    later = add_months(at, months)
    assert (later.year * 12 + later.month) - (at.year * 12 + at.month) == months
    assert later.day <= at.day
    assert later.time() == at.time()
