"""Updates an endpoint's health after an attempt: circuit breaker, slow-down, notices, disabling, retry times.

Pure. The time (the database's) and random numbers are arguments.

    `breaker_failures` or more in a row      one attempt at a time, with growing pauses (circuit breaker)
    429, 502, 504                            one attempt at a time, 2^step seconds apart (slow-down)
    Retry-After with 429 or 503              no attempt before that time, even after a success
    failures for `warn_after_s`              one notice to the owner
    failures for `disable_after_s`           disabled: `failing`
    410                                      disabled immediately: `gone`
    quota of mails used up                   no attempt until there is room; counts as no failure

Concurrent attempts that were running when the last failure ended count with it: as one failure, and a success
among them is no recovery.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, NamedTuple

from app.notifications.delivery.transport_types import AttemptOutcome

MOST_STEPS: Final = 6
"""The highest step of the slow-down: 2^6 seconds between attempts."""

GONE: Final = "gone"
SLOW_DOWN: Final = frozenset({429, 502, 504})
_RETRY_AFTER_STATUSES: Final = frozenset({429, 503})
QUOTA_EXCEEDED: Final = "quota_exceeded"
# Faults and limits of this installation are in its log and metrics; they do not disable an endpoint.
_OWN_FAULTS: Final = frozenset({"internal_error", "not_configured", QUOTA_EXCEEDED})
_MOST_DOUBLINGS: Final = 30
_DAY_S: Final = 86_400.0


class EndpointHealth(NamedTuple):
    """The columns of `endpoint_states` without the rate limit's tokens.

    `consecutive_failures` counts concurrent failures one by one up to the breaker's limit; beyond it they
    count once. `last_reason` and `last_status` belong to the last failure, also after a success.
    """

    consecutive_failures: int = 0
    failing_since: datetime | None = None
    noticed_at: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_reason: str | None = None
    last_status: int | None = None
    open_until: datetime | None = None
    slow_step: int = 0


class HealthLimits(NamedTuple):
    """The settings of endpoint health (see `WebhookSettings`): times in seconds, `jitter` a fraction.

    `quiet_s` is computed from the others (`compute_quiet_period_s`): a failure after so long a time without
    one begins a new period of failure.
    """

    breaker_failures: int
    breaker_max_s: float
    retry_after_max_s: float
    warn_after_s: float
    disable_after_s: float
    jitter: float
    quiet_s: float


class HealthAction(StrEnum):
    """An action on the endpoint that an outcome leads to."""

    WARN = "warn"
    DISABLE_FAILING = "failing"
    DISABLE_GONE = "gone"


def compute_quiet_period_s(schedule_s: Sequence[float], retry_after_max_s: float, jitter: float) -> float:
    """Compute the seconds without a failure after which a period of failure ends: there were no attempts.

    The result is longer than any wait between two attempts of a delivery, and at least a day.
    """
    return 1.5 * max(_DAY_S, (1 + jitter) * max(0.0, *schedule_s, retry_after_max_s))


def get_requested_wait_s(outcome: AttemptOutcome, limits: HealthLimits) -> float | None:
    """Return the wait that a receiver requested or a quota requires, in seconds; None without one."""
    if outcome.retry_after_s is not None and outcome.reason == QUOTA_EXCEEDED:
        return outcome.retry_after_s
    if outcome.retry_after_s is None or outcome.status is None:
        return None
    if outcome.status != 429 and outcome.status < 500:  # noqa: PLR2004 (too many; the server's errors)
        return None
    return min(max(outcome.retry_after_s, 0.0), limits.retry_after_max_s)


def update_health(
    health: EndpointHealth,
    outcome: AttemptOutcome,
    *,
    started_at: datetime,
    ended_at: datetime,
    limits: HealthLimits,
    chance: float,
) -> tuple[EndpointHealth, HealthAction | None]:
    """Update an endpoint's state after an attempt.

    Args:
        health: The state before the attempt.
        outcome: The outcome of the attempt.
        started_at: When the attempt began.
        ended_at: When the attempt ended: now.
        limits: The settings.
        chance: A random number in [0, 1): waits grow by up to the fraction `jitter`.

    Returns:
        The new state, and the action on the endpoint, if any.
    """
    stretch = 1 + limits.jitter * chance
    if outcome.delivered:
        return _succeeded(health, started_at, ended_at, stretch), None
    failed = _failed(health, outcome, limits, stretch, (started_at, ended_at))
    return _choose_action(failed, ended_at, limits)


def _succeeded(health: EndpointHealth, started_at: datetime, now: datetime, stretch: float) -> EndpointHealth:
    step = health.slow_step
    opens = [] if health.open_until is None or health.open_until <= now else [health.open_until]
    if not _is_concurrent(health, started_at):
        step = max(0, step - 1)
        if step:
            opens.append(now + timedelta(seconds=2**step * stretch))
    return health._replace(
        consecutive_failures=0,
        failing_since=None,
        noticed_at=None,
        last_success_at=now,
        open_until=max(opens, default=None),
        slow_step=step,
    )


def _failed(
    health: EndpointHealth,
    outcome: AttemptOutcome,
    limits: HealthLimits,
    stretch: float,
    times: tuple[datetime, datetime],
) -> EndpointHealth:
    started_at, now = times
    is_concurrent = _is_concurrent(health, started_at)
    failures, step = health.consecutive_failures, health.slow_step
    # A mail that waits for its quota was not sent: this says nothing about the receiver.
    is_tried = outcome.reason != QUOTA_EXCEEDED
    if is_tried and (not is_concurrent or failures < limits.breaker_failures):
        failures += 1
    waits = [0.0]
    if outcome.status in SLOW_DOWN:
        step = step if is_concurrent and step > 0 else min(MOST_STEPS, step + 1)
        waits.append(2**step * stretch)
    if is_tried and failures >= limits.breaker_failures:
        doublings = min(failures - limits.breaker_failures, _MOST_DOUBLINGS)
        waits.append(min(limits.breaker_max_s, float(2**doublings)) * stretch)
    if outcome.status in _RETRY_AFTER_STATUSES or outcome.reason == QUOTA_EXCEEDED:
        waits.append(get_requested_wait_s(outcome, limits) or 0.0)
    opens = [now + timedelta(seconds=wait) for wait in waits if wait > 0]
    if health.open_until is not None:
        opens.append(health.open_until)
    since, noticed_at = _failing_since(health, outcome, limits, now)
    return health._replace(
        consecutive_failures=failures,
        failing_since=since,
        noticed_at=noticed_at,
        last_failure_at=now,
        last_reason=outcome.reason,
        last_status=outcome.status,
        open_until=max(opens, default=None),
        slow_step=step,
    )


def _is_concurrent(health: EndpointHealth, started_at: datetime) -> bool:
    """Check whether an attempt was running already when the last failure ended."""
    return health.last_failure_at is not None and started_at < health.last_failure_at


def _failing_since(
    health: EndpointHealth, outcome: AttemptOutcome, limits: HealthLimits, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the start of the period of failure and the time of its notice, after one more failure.

    A failure after the quiet period begins a new period. A fault of this installation says nothing about the
    receiver: a single one changes nothing; a second in a row, or one after the quiet period, ends the period.
    """
    last, is_own_fault = health.last_failure_at, outcome.reason in _OWN_FAULTS
    was_quiet = last is not None and (now - last).total_seconds() > limits.quiet_s
    if was_quiet or (is_own_fault and health.last_reason in _OWN_FAULTS):
        return None if is_own_fault else now, None
    return health.failing_since if is_own_fault else health.failing_since or now, health.noticed_at


def _choose_action(
    failed: EndpointHealth, now: datetime, limits: HealthLimits
) -> tuple[EndpointHealth, HealthAction | None]:
    if failed.last_reason == GONE:
        return failed, HealthAction.DISABLE_GONE
    if failed.last_reason in _OWN_FAULTS or failed.failing_since is None:
        return failed, None
    failing_s = (now - failed.failing_since).total_seconds()
    if failing_s >= limits.disable_after_s and failed.consecutive_failures >= limits.breaker_failures:
        return failed, HealthAction.DISABLE_FAILING
    if failing_s >= limits.warn_after_s and failed.noticed_at is None:
        return failed._replace(noticed_at=now), HealthAction.WARN
    return failed, None


_MOST_DIGITS: Final = 9
MOST_S: Final = float("9" * _MOST_DIGITS)
"""The longest wait read from a Retry-After, about 32 years."""


def compute_next_attempt(
    schedule: Sequence[float],
    attempt_count: int,
    now: datetime,
    jitter: float,
    random: Callable[[], float],
) -> datetime | None:
    """Compute when the attempt after `attempt_count` attempts is due.

    Args:
        schedule: The wait before each attempt, in seconds after the previous one.
        attempt_count: Attempts so far; 0 for a new or replayed delivery.
        now: When the last attempt ended, or when the delivery was created.
        jitter: The largest fraction (0 to 1) by which a wait grows, so that deliveries that failed together
            are not retried together. A wait is never shortened: the schedule is documented for clients.
        random: Returns a number in [0, 1).

    Returns:
        The time; None if the schedule is exhausted and the delivery fails.
    """
    if attempt_count >= len(schedule):
        return None
    return now + timedelta(seconds=schedule[attempt_count] * (1 + jitter * random()))


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Parse a Retry-After (RFC 9110, 10.2.3) to seconds, 0 to `MOST_S`; None if it is invalid.

    Args:
        text: The header's value: seconds, or a date in one of HTTP's three formats.
        now: The time, aware.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else MOST_S
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # no date; a year or an offset out of range
        return None
    if at.tzinfo is None:  # as in the oldest of the three formats
        at = at.replace(tzinfo=UTC)
    return min(MOST_S, max(0.0, (at - now).total_seconds()))
