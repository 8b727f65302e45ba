from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.notifications.delivery.endpoint_health import (
    MOST_STEPS,
    EndpointHealth,
    HealthAction,
    HealthLimits,
    compute_quiet_period_s,
    get_requested_wait_s,
    update_health,
)
from app.notifications.delivery.transport_types import AttemptOutcome

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
LIMITS = HealthLimits(
    breaker_failures=5,
    breaker_max_s=60.0,
    retry_after_max_s=3600.0,
    warn_after_s=86_400.0,
    disable_after_s=432_000.0,
    jitter=0.1,
    quiet_s=150_000.0,
)
OK = AttemptOutcome("delivered", 204, None, 1.0)
FAILED = AttemptOutcome("http_error", 500, None, 1.0)
LIMITED = AttemptOutcome("rate_limited", 429, None, 1.0)


def _after(
    health: EndpointHealth,
    outcome: AttemptOutcome,
    now: datetime = NOW,
    *,
    began: datetime | None = None,
    chance: float = 0,
) -> tuple[EndpointHealth, HealthAction | None]:
    started_at = now - timedelta(seconds=1) if began is None else began
    return update_health(health, outcome, started_at=started_at, ended_at=now, limits=LIMITS, chance=chance)


def _wait(health: EndpointHealth, now: datetime = NOW) -> float | None:
    return None if health.open_until is None else (health.open_until - now).total_seconds()


def test_a_success_wipes_the_slate() -> None:
    troubled = EndpointHealth(
        consecutive_failures=9,
        failing_since=NOW - timedelta(days=2),
        noticed_at=NOW - timedelta(days=1),
        last_failure_at=NOW - timedelta(hours=1),
        last_reason="http_error",
        last_status=503,
        open_until=NOW - timedelta(seconds=1),
    )
    health, verdict = _after(troubled, OK)
    assert verdict is None
    assert health == EndpointHealth(
        last_success_at=NOW,
        last_failure_at=troubled.last_failure_at,
        last_reason="http_error",
        last_status=503,
    )


def test_failures_are_counted_from_the_first() -> None:
    health, _ = _after(EndpointHealth(), FAILED)
    later = NOW + timedelta(seconds=5)
    health, verdict = _after(health, AttemptOutcome("timeout", None, None, 1.0), later)
    assert verdict is None
    assert (health.consecutive_failures, health.failing_since) == (2, NOW)
    assert (health.last_failure_at, health.last_reason, health.last_status) == (later, "timeout", None)
    assert health.open_until is None


def test_the_breaker_opens_ever_longer() -> None:
    health, now, waits = EndpointHealth(), NOW, []
    for _ in range(13):
        health, _ = _after(health, FAILED, now)
        waits.append(_wait(health, now))
        now = health.open_until or now
    assert waits == [None] * 4 + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    health, _ = _after(health._replace(consecutive_failures=10**6), FAILED, now, chance=0.5)
    assert _wait(health, now) == pytest.approx(63)


def test_one_that_is_slowed_down_recovers_step_by_step() -> None:
    health, now, steps = EndpointHealth(), NOW, []
    for _ in range(8):
        health, _ = _after(health, LIMITED, now)
        steps.append(health.slow_step)
        now = health.open_until or now
    assert steps == [1, 2, 3, 4, 5, 6, 6, 6]
    # The breaker has its own say, which may be longer.
    assert _wait(health, now) == 0
    waits = []
    for _ in range(7):
        health, _ = _after(health, OK, now)
        waits.append(_wait(health, now))
        now = health.open_until or now
    assert waits == [32, 16, 8, 4, 2, None, None]
    assert health.slow_step == 0


@pytest.mark.parametrize("status", [429, 502, 504])
def test_what_was_under_way_together_slows_down_once(status: int) -> None:
    outcome = AttemptOutcome("http_error", status, None, 1.0)
    health = EndpointHealth()
    for late in range(8):
        health, _ = _after(health, outcome, NOW + timedelta(milliseconds=late), began=NOW - timedelta(1))
    assert health.slow_step == 1
    health, _ = _after(health, outcome, NOW + timedelta(seconds=9), began=NOW + timedelta(seconds=8))
    assert health.slow_step == 2


@pytest.mark.parametrize("count", [5, 8, 16])
def test_what_was_under_way_together_opens_the_breaker_once(count: int) -> None:
    health, last = EndpointHealth(last_success_at=NOW), NOW
    for late in range(count):
        last = NOW + timedelta(milliseconds=late)
        health, _ = _after(health, FAILED, last, began=NOW - timedelta(1))
    assert (_wait(health, last), health.consecutive_failures) == (1, 5)
    # The next one is a try of its own.
    began = health.open_until or NOW
    health, _ = _after(health, FAILED, began + timedelta(seconds=1), began=began)
    assert (_wait(health, began + timedelta(seconds=1)), health.consecutive_failures) == (2, 6)


@pytest.mark.parametrize("status", [429, 503])
def test_a_success_that_was_under_way_does_not_end_a_wait(status: int) -> None:
    health, _ = _after(EndpointHealth(), AttemptOutcome("http_error", status, None, 1.0, 3600.0))
    until = health.open_until
    assert until == NOW + timedelta(hours=1)
    step = health.slow_step
    # It began before the answer that asked to wait, and ended after it.
    late = NOW + timedelta(milliseconds=200)
    health, _ = _after(health, OK, late, began=NOW - timedelta(milliseconds=100))
    assert (health.open_until, health.slow_step, health.consecutive_failures) == (until, step, 0)
    # Nor does one that another process began after it: it was asked to wait.
    health, _ = _after(health, OK, late, began=NOW + timedelta(milliseconds=100))
    assert (health.open_until, health.slow_step) == (until, 0)
    # What has passed has.
    then = NOW + timedelta(hours=1)
    health, _ = _after(health, OK, then + timedelta(seconds=1), began=then)
    assert health.open_until is None


@pytest.mark.parametrize("status", [400, 404, 500, 501, 503, None])
def test_other_failures_slow_nobody_down(status: int | None) -> None:
    health, _ = _after(EndpointHealth(), AttemptOutcome("http_error", status, None, 1.0))
    assert (health.slow_step, health.open_until) == (0, None)


@pytest.mark.parametrize(
    ("status", "asked", "opens", "heeded"),
    [
        (503, 100.0, 100.0, 100.0),
        (429, 100.0, 100.0, 100.0),
        (429, 0.5, 2.0, 0.5),  # its step is longer
        (503, 99_999.0, 3600.0, 3600.0),
        (500, 100.0, None, 100.0),  # of this delivery alone
        (404, 100.0, None, None),
        (200, 100.0, None, None),
        (503, None, None, None),
    ],
)
def test_retry_after(status: int, asked: float | None, opens: float | None, heeded: float | None) -> None:
    outcome = AttemptOutcome("http_error", status, None, 1.0, asked)
    health, _ = _after(EndpointHealth(), outcome)
    assert _wait(health) == opens
    assert get_requested_wait_s(outcome, LIMITS) == heeded


def test_a_shorter_wait_does_not_end_a_longer_one() -> None:
    closed = NOW + timedelta(hours=1)
    health, _ = _after(EndpointHealth(open_until=closed), LIMITED)
    assert health.open_until == closed


def test_its_owner_is_told_once_and_it_is_disabled_later() -> None:
    health, now, told = EndpointHealth(), NOW, []
    for _ in range(7 * 24):
        health, verdict = _after(health, FAILED, now)
        if verdict is not None:
            told.append((now - NOW, verdict))
        now += timedelta(hours=1)
    day = timedelta(days=1)
    assert told[0] == (day, HealthAction.WARN)
    assert told[1] == (5 * day, HealthAction.DISABLE_FAILING)
    # Who enables it without success is told again: it has not recovered.
    assert {verdict for _, verdict in told[1:]} == {HealthAction.DISABLE_FAILING}


def test_after_a_success_the_time_begins_anew() -> None:
    health, _ = _after(EndpointHealth(), FAILED)
    health, _ = _after(health, OK, NOW + timedelta(days=4))
    health, verdict = _after(health, FAILED, NOW + timedelta(days=9))
    assert verdict is None
    assert health.failing_since == NOW + timedelta(days=9)


def test_the_first_failure_after_a_pause_disables_nobody() -> None:
    health = EndpointHealth(last_success_at=NOW)
    for seconds in (0, 5, 300, 2000):
        health, _ = _after(health, FAILED, NOW + timedelta(seconds=seconds))
    later = NOW + timedelta(days=6)
    health, verdict = _after(health, FAILED, later)
    assert (verdict, health.failing_since, health.noticed_at) == (None, later, None)


def test_few_failures_disable_nobody_however_far_apart() -> None:
    health, day = EndpointHealth(), timedelta(days=1)
    limits = LIMITS._replace(breaker_failures=8)
    verdicts = []
    for days in range(9):
        at = NOW + days * day
        health, verdict = update_health(health, FAILED, started_at=at, ended_at=at, limits=limits, chance=0)
        verdicts.append(verdict)
    # Told after a day, and disabled with the eighth, two days after its time.
    assert verdicts == [
        *(None, HealthAction.WARN),
        *[None] * 5,
        *[HealthAction.DISABLE_FAILING] * 2,
    ]


def test_who_fails_anew_after_a_pause_is_told_anew() -> None:
    health, told = EndpointHealth(), []
    for days in (0, 1, 4, 5):
        health, verdict = _after(health, FAILED, NOW + timedelta(days=days))
        told.append(verdict)
    assert told == [None, HealthAction.WARN, None, HealthAction.WARN]


@pytest.mark.parametrize("reason", ["internal_error", "not_configured"])
def test_a_fault_of_ours_keeps_no_time_running(reason: str) -> None:
    health, ours = EndpointHealth(), AttemptOutcome(reason, None, None, 0.0)
    health, _ = _after(health, FAILED)
    for hours in range(12, 150, 12):
        health, verdict = _after(health, ours, NOW + timedelta(hours=hours))
        assert verdict is None
    later = NOW + timedelta(hours=151)
    health, verdict = _after(health, FAILED, later)
    assert (verdict, health.failing_since) == (None, later)


def test_one_fault_of_ours_does_not_hide_that_a_receiver_is_down() -> None:
    health, ours = EndpointHealth(), AttemptOutcome("internal_error", None, None, 0.0)
    verdicts = set()
    for hours in range(6 * 24):
        outcome = ours if hours % 24 == 7 else FAILED
        health, verdict = _after(health, outcome, NOW + timedelta(hours=hours))
        verdicts.add(verdict)
    assert verdicts == {None, HealthAction.WARN, HealthAction.DISABLE_FAILING}
    assert health.failing_since == NOW


def test_a_pause_is_longer_than_any_wait() -> None:
    assert compute_quiet_period_s([0, 5, 86_400], 3600.0, 0.1) == pytest.approx(1.5 * 1.1 * 86_400)
    assert compute_quiet_period_s([0, 5], 7 * 86_400.0, 0.0) == 1.5 * 7 * 86_400
    assert compute_quiet_period_s([], 1.0, 1.0) == 1.5 * 86_400


def test_gone_is_gone_at_once() -> None:
    health, verdict = _after(EndpointHealth(), AttemptOutcome("gone", 410, None, 1.0))
    assert verdict is HealthAction.DISABLE_GONE
    assert health.failing_since == NOW


@pytest.mark.parametrize("reason", ["internal_error", "not_configured"])
def test_a_fault_of_ours_disables_nobody(reason: str) -> None:
    health = EndpointHealth()
    for days in range(10):
        health, verdict = _after(health, AttemptOutcome(reason, None, None, 0.0), NOW + timedelta(days=days))
        assert verdict is None
    # But it is not tried as often as it could be.
    assert (health.failing_since, health.consecutive_failures) == (None, 10)
    assert health.open_until is not None


def test_waits_are_stretched_by_chance_and_never_shortened() -> None:
    waits = [_wait(_after(EndpointHealth(), LIMITED, chance=chance / 10)[0]) or 0 for chance in range(10)]
    assert waits[0] == 2
    assert all(one < other for one, other in pairwise(waits))
    assert waits[-1] < 2.2
    assert MOST_STEPS == 6


def test_a_limit_of_ours_is_waited_for_and_disables_nobody() -> None:
    full = AttemptOutcome("quota_exceeded", None, None, 0.0, 1800.0)
    health, verdict = _after(EndpointHealth(), full)
    assert verdict is None
    assert health.failing_since is None
    assert health.open_until == NOW + timedelta(seconds=1800)
    assert get_requested_wait_s(full, LIMITS) == 1800
    for days in range(10):
        health, verdict = _after(health, full, NOW + timedelta(days=days))
        assert (verdict, health.failing_since, health.consecutive_failures) == (None, None, 0)
