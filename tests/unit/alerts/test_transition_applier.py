from datetime import UTC, datetime, timedelta

import pytest

from app.alerts.transition_applier import compute_due_times, format_iso_duration
from app.platform.kernel.instants import parse_iso_duration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "PT0S"),
        (1_000_000, "PT1S"),
        (90_000_000, "PT1M30S"),
        (3_600_000_000, "PT1H"),
        (86_400_000_000, "P1D"),
        (7 * 86_400_000_000, "P7D"),
        (90_061_500_000, "P1DT1H1M1.5S"),
        (250_000, "PT0.25S"),
    ],
)
def test_a_time_span_is_written_as_it_is_read(micros: int, text: str) -> None:
    assert format_iso_duration(micros) == text
    assert parse_iso_duration(text) == micros / 1_000_000


def test_what_is_due_is_counted_from_now() -> None:
    steps = [[60_000_000, "warning"], [120_000_000, "critical"]]
    assert compute_due_times(steps, 5_000_000, NOW) == (
        NOW + timedelta(minutes=1),
        NOW + timedelta(seconds=5),
    )
    assert compute_due_times([], None, NOW) == (None, None)
