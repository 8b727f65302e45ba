"""How an endpoint fares: what each attempt's outcome makes of its state, and when it is told of or disabled.

Pure: now and chance are arguments; owns no row and no setting. The times are the database's.

    failures in a row, from `breaker_failures` on   one attempt at a time, ever longer between them
    429, 502, 504                                   one attempt at a time, 2^step seconds between them
    Retry-After with 429 or 503                     none before it has passed, whatever succeeds meanwhile
    failures for `warn_after_s`                     its owner is told, once
    failures for `disable_after_s`                  disabled: `failing`
    410                                             disabled at once: `gone`

Attempts that were under way when the last failure ended say nothing new: together they are one complaint, and
a success among them is no recovery.

When the next attempt of a delivery is due.

Pure: the schedule is data, now and chance are arguments. Must not know what an attempt is.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, NamedTuple

from app.notifications.delivery.transport_types import AttemptOutcome

MOST_STEPS: Final = 6
"""An endpoint that is slowed down gets an attempt every 2^6 seconds at least."""

GONE: Final = "gone"
SLOW_DOWN: Final = frozenset({429, 502, 504})
_ASKED_TO_WAIT: Final = frozenset({429, 503})
QUOTA_EXCEEDED: Final = "quota_exceeded"
# A fault or a limit of this installation's is told by its log and figures; it disables nobody.
_OURS: Final = frozenset({"internal_error", "not_configured", QUOTA_EXCEEDED})
_MOST_DOUBLINGS: Final = 30
_DAY_S: Final = 86_400.0


class EndpointHealth(NamedTuple):
    """What `endpoint_states` holds of an endpoint, but for its tokens.

    `consecutive_failures` counts failures that were under way together up to the breaker's limit, and no
    further: each more of it is another try that failed.
    `last_reason` and `last_status` are of the last failure, also after a success.
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
    """The settings that decide (see `WebhookSettings`); times in seconds, `jitter` a share.

    `quiet_s` is made of them (`compute_quiet_period_s`): after so long without a failure the next one begins
    anew.
    """

    breaker_failures: int
    breaker_max_s: float
    retry_after_max_s: float
    warn_after_s: float
    disable_after_s: float
    jitter: float
    quiet_s: float


class HealthAction(StrEnum):
    """What an outcome leads to besides."""

    WARN = "warn"
    DISABLE_FAILING = "failing"
    DISABLE_GONE = "gone"


def compute_quiet_period_s(schedule_s: Sequence[float], retry_after_max_s: float, jitter: float) -> float:
    """How many seconds without a failure mean that nothing was tried, and not that nothing succeeded.

    Longer than any wait between two attempts of a delivery, and a day at least.
    """
    return 1.5 * max(_DAY_S, (1 + jitter) * max(0.0, *schedule_s, retry_after_max_s))


def get_requested_wait_s(outcome: AttemptOutcome, limits: HealthLimits) -> float | None:
    """For how many seconds a receiver asked to be left alone, or has to be; None where it did not."""
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
    """Give an endpoint's state after an attempt.

    Args:
        health: Its state before.
        outcome: What came of the attempt.
        started_at: When the attempt began.
        ended_at: When it ended: now.
        limits: The settings.
        chance: In [0, 1): waits are stretched by up to `jitter` of themselves.

    Returns:
        The state, and what is to be done about the endpoint, if anything.
    """
    stretch = 1 + limits.jitter * chance
    if outcome.delivered:
        return _succeeded(health, started_at, ended_at, stretch), None
    failed = _failed(health, outcome, limits, stretch, (started_at, ended_at))
    return _verdict(failed, ended_at, limits)


def _succeeded(health: EndpointHealth, started_at: datetime, now: datetime, stretch: float) -> EndpointHealth:
    step = health.slow_step
    opens = [] if health.open_until is None or health.open_until <= now else [health.open_until]
    if not _together(health, started_at):
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
    together = _together(health, started_at)
    failures, step = health.consecutive_failures, health.slow_step
    if not together or failures < limits.breaker_failures:
        failures += 1
    waits = [0.0]
    if outcome.status in SLOW_DOWN:
        step = step if together and step > 0 else min(MOST_STEPS, step + 1)
        waits.append(2**step * stretch)
    if failures >= limits.breaker_failures:
        doublings = min(failures - limits.breaker_failures, _MOST_DOUBLINGS)
        waits.append(min(limits.breaker_max_s, float(2**doublings)) * stretch)
    if outcome.status in _ASKED_TO_WAIT or outcome.reason == QUOTA_EXCEEDED:
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


def _together(health: EndpointHealth, started_at: datetime) -> bool:
    """Whether an attempt was under way already when the last failure ended."""
    return health.last_failure_at is not None and started_at < health.last_failure_at


def _failing_since(
    health: EndpointHealth, outcome: AttemptOutcome, limits: HealthLimits, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Since when an endpoint fails, and when that was told of, with one more failure.

    After a pause longer than any between two attempts it begins anew: nothing was tried. A fault of ours
    says nothing of the receiver: one alone changes nothing; a second in a row, or one after a pause, ends
    what was.
    """
    last, ours = health.last_failure_at, outcome.reason in _OURS
    paused = last is not None and (now - last).total_seconds() > limits.quiet_s
    if paused or (ours and health.last_reason in _OURS):
        return None if ours else now, None
    return health.failing_since if ours else health.failing_since or now, health.noticed_at


def _verdict(
    failed: EndpointHealth, now: datetime, limits: HealthLimits
) -> tuple[EndpointHealth, HealthAction | None]:
    if failed.last_reason == GONE:
        return failed, HealthAction.DISABLE_GONE
    if failed.last_reason in _OURS or failed.failing_since is None:
        return failed, None
    failing_s = (now - failed.failing_since).total_seconds()
    if failing_s >= limits.disable_after_s and failed.consecutive_failures >= limits.breaker_failures:
        return failed, HealthAction.DISABLE_FAILING
    if failing_s >= limits.warn_after_s and failed.noticed_at is None:
        return failed._replace(noticed_at=now), HealthAction.WARN
    return failed, None


_MOST_DIGITS: Final = 9
MOST_S: Final = float("9" * _MOST_DIGITS)
"""The longest wait that a Retry-After is read as: thirty years are as good as for ever."""


def compute_next_attempt(
    schedule: Sequence[float],
    attempt_count: int,
    now: datetime,
    jitter: float,
    random: Callable[[], float],
) -> datetime | None:
    """Return when the attempt after `attempt_count` of them is due.

    Args:
        schedule: The wait before each attempt in seconds, counted from the one before it.
        attempt_count: Attempts made so far; 0 for a new or replayed delivery.
        now: When the last attempt ended, or when the delivery was made.
        jitter: The share by which a wait is stretched at most (0 to 1), so that what failed together does not
            come back together. A wait is never shortened: the schedule is what clients are told.
        random: Gives a number in [0, 1).

    Returns:
        The instant; None when the schedule is used up and the delivery is given up.
    """
    if attempt_count >= len(schedule):
        return None
    return now + timedelta(seconds=schedule[attempt_count] * (1 + jitter * random()))


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Read a Retry-After (RFC 9110, 10.2.3): in how many seconds, 0 to `MOST_S`; None where it says nothing.

    Args:
        text: The field's value: seconds, or a date in one of HTTP's three forms.
        now: Aware.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _MOST_DIGITS else MOST_S
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # no date; a year, or a zone, that no number holds
        return None
    if at.tzinfo is None:  # as in the oldest of the three forms
        at = at.replace(tzinfo=UTC)
    return min(MOST_S, max(0.0, (at - now).total_seconds()))
