"""Up to which time a broker is drained."""

from datetime import UTC, datetime, timedelta

from app.edge.drained_times import DrainedTimes

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_time_is_drained_once_all_bytes_received_by_then_are_settled() -> None:
    times = DrainedTimes()
    times.note(at(1), 100)
    times.note(at(2), 100)
    times.note(at(3), 250)
    assert times.take(99) is None
    assert times.take(100) == at(2)
    assert times.take(249) is None
    assert times.take(250) == at(3)
    assert times.take(900) is None


def test_what_was_noted_before_a_lost_connection_is_forgotten() -> None:
    times = DrainedTimes()
    times.note(at(1), 100)
    times.clear()
    assert times.take(100) is None


def test_a_log_that_is_away_for_hours_costs_no_memory() -> None:
    times = DrainedTimes()
    for second in range(10_000):
        times.note(at(second), second)
    assert times.take(9_900) is None
    assert times.take(9_999) == at(9_999)
