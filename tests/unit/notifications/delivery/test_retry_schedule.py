from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.delivery.endpoint_health import MOST_S, compute_next_attempt, parse_retry_after
from app.notifications.settings import WebhookSettings

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
YEAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
SCHEDULE = WebhookSettings.model_fields["schedule_s"].get_default(call_default_factory=True)


@pytest.mark.parametrize(("count", "seconds"), [(0, 0), (1, 5), (2, 300), (9, 86_400)])
def test_each_wait_is_the_schedules(count: int, seconds: float) -> None:
    assert compute_next_attempt(SCHEDULE, count, NOW, 0.0, lambda: 0.5) == NOW + timedelta(seconds=seconds)


def test_used_up_means_given_up() -> None:
    assert compute_next_attempt(SCHEDULE, len(SCHEDULE), NOW, 0.1, lambda: 0.0) is None
    assert compute_next_attempt(SCHEDULE, len(SCHEDULE) + 5, NOW, 0.1, lambda: 0.0) is None
    assert compute_next_attempt([], 0, NOW, 0.1, lambda: 0.0) is None


@given(
    count=st.integers(0, 9),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_jitter_stretches_and_never_shortens(count: int, jitter: float, chance: float) -> None:
    due = compute_next_attempt(SCHEDULE, count, NOW, jitter, lambda: chance)
    assert due is not None
    wait = (due - NOW).total_seconds()
    assert SCHEDULE[count] <= wait + 1e-6
    assert wait <= SCHEDULE[count] * (1 + jitter) + 1e-6


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Thu, 26 Nov 2026 10:02:00 GMT", 120),
        ("Thursday, 26-Nov-26 10:02:00 GMT", 120),
        ("Thu Nov 26 10:02:00 2026", 120),
        ("Thu, 26 Nov 2026 11:02:00 +0100", 120),
        # Past: at once.
        ("Thu, 26 Nov 2026 09:00:00 GMT", 0),
        ("9" * 400, 999_999_999),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 999_999_999),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert parse_retry_after(text, datetime(2026, 11, 26, 10, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "1.5",
        "soon",
        "²",
        "99 Nov 2026",
        "Thu, 99 Nov 2026 10:02:00 GMT",
        "١٢",
        "\0",
        YEAR,
        f"{NOW:%a, %d %b %Y %H:%M:%S} +{10**30}",
    ],
)
def test_a_retry_after_that_says_nothing(text: str) -> None:
    assert parse_retry_after(text, datetime(2026, 11, 26, 10, tzinfo=UTC)) is None


_PARTS = st.one_of(
    st.integers().map(str),
    st.sampled_from(["Mon,", "01", "Jan", "2026", "00:00:00", "24:61:61", "GMT", "+0000", "-9999", "-", ":"]),
    st.text(max_size=6),
)


@given(text=st.one_of(st.text(), st.lists(_PARTS, max_size=8).map(" ".join)))
def test_whatever_a_receiver_sends_is_read_or_not(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= MOST_S


@given(
    at=st.datetimes(timezones=st.timezones()) | st.datetimes(timezones=st.just(UTC)),
    year=st.integers(0, 10**22),
    zone=st.integers(-(10**6), 10**6),
)
def test_no_date_is_too_much(at: datetime, year: int, zone: int) -> None:
    text = f"{at:%a, %d %b} {year} {at:%H:%M:%S} {zone:+05d}"
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= MOST_S
