"""How an endpoint fares: what each attempt's outcome makes of its state, and when it is told of or disabled.

Pure: now and chance are arguments; owns no row and no setting. The times are the database's.

    failures in a row, from `breaker_failures` on   one attempt at a time, ever longer between them
    429, 502, 504                                   one attempt at a time, 2^step seconds between them
    Retry-After with 429 or 503                     none before it has passed
    failures for `warn_after_s`                     its owner is told, once
    failures for `disable_after_s`                  disabled: `failing`
    410                                             disabled at once: `gone`
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from app.webhooks.transport import Outcome

MOST_STEPS: Final = 6
"""An endpoint that is slowed down gets an attempt every 2^6 seconds at least."""

GONE: Final = "gone"
_SLOW_DOWN: Final = frozenset({429, 502, 504})
_ASKED_TO_WAIT: Final = frozenset({429, 503})
# A fault of this installation's is told by its log and figures; it disables nobody.
_OURS: Final = frozenset({"internal_error", "not_configured"})
_MOST_DOUBLINGS: Final = 30


class Health(NamedTuple):
    """What `endpoint_states` holds of an endpoint, but for its tokens."""

    consecutive_failures: int = 0
    failing_since: datetime | None = None
    noticed_at: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_reason: str | None = None
    last_status: int | None = None
    open_until: datetime | None = None
    slow_step: int = 0


class Limits(NamedTuple):
    """The settings that decide (see `WebhookSettings`); times in seconds, `jitter` a share."""

    breaker_failures: int
    breaker_max_s: float
    retry_after_max_s: float
    warn_after_s: float
    disable_after_s: float
    jitter: float


class Verdict(StrEnum):
    """What an outcome leads to besides."""

    WARN = "warn"
    DISABLE_FAILING = "failing"
    DISABLE_GONE = "gone"


def asked_to_wait(outcome: Outcome, limits: Limits) -> float | None:
    """For how many seconds a receiver asked to be left alone; None where it did not, or is not heeded."""
    if outcome.retry_after_s is None or outcome.status is None:
        return None
    if outcome.status != 429 and outcome.status < 500:  # noqa: PLR2004 (too many; the server's errors)
        return None
    return min(max(outcome.retry_after_s, 0.0), limits.retry_after_max_s)


def after(
    health: Health,
    outcome: Outcome,
    *,
    started_at: datetime,
    ended_at: datetime,
    limits: Limits,
    chance: float,
) -> tuple[Health, Verdict | None]:
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
        return _succeeded(health, outcome, ended_at, stretch), None
    failed = _failed(health, outcome, limits, stretch, (started_at, ended_at))
    return _verdict(failed, ended_at, limits)


def _succeeded(health: Health, outcome: Outcome, now: datetime, stretch: float) -> Health:
    step = max(0, health.slow_step - 1)
    return health._replace(
        consecutive_failures=0,
        failing_since=None,
        noticed_at=None,
        last_success_at=now,
        last_reason=outcome.reason,
        last_status=outcome.status,
        open_until=now + timedelta(seconds=2**step * stretch) if step else None,
        slow_step=step,
    )


def _failed(
    health: Health, outcome: Outcome, limits: Limits, stretch: float, times: tuple[datetime, datetime]
) -> Health:
    started_at, now = times
    failures = health.consecutive_failures + 1
    step = health.slow_step
    waits = [0.0]
    if outcome.status in _SLOW_DOWN:
        # Those that were under way together are one complaint, and not six.
        together = step > 0 and health.last_failure_at is not None and started_at < health.last_failure_at
        step = step if together else min(MOST_STEPS, step + 1)
        waits.append(2**step * stretch)
    if failures >= limits.breaker_failures:
        doublings = min(failures - limits.breaker_failures, _MOST_DOUBLINGS)
        waits.append(min(limits.breaker_max_s, float(2**doublings)) * stretch)
    if outcome.status in _ASKED_TO_WAIT:
        waits.append(asked_to_wait(outcome, limits) or 0.0)
    opens = [now + timedelta(seconds=wait) for wait in waits if wait > 0]
    if health.open_until is not None:
        opens.append(health.open_until)
    ours = outcome.reason in _OURS
    return health._replace(
        consecutive_failures=failures,
        failing_since=health.failing_since if ours else health.failing_since or now,
        last_failure_at=now,
        last_reason=outcome.reason,
        last_status=outcome.status,
        open_until=max(opens, default=None),
        slow_step=step,
    )


def _verdict(failed: Health, now: datetime, limits: Limits) -> tuple[Health, Verdict | None]:
    if failed.last_reason == GONE:
        return failed, Verdict.DISABLE_GONE
    if failed.last_reason in _OURS or failed.failing_since is None:
        return failed, None
    failing_s = (now - failed.failing_since).total_seconds()
    if failing_s >= limits.disable_after_s:
        return failed, Verdict.DISABLE_FAILING
    if failing_s >= limits.warn_after_s and failed.noticed_at is None:
        return failed._replace(noticed_at=now), Verdict.WARN
    return failed, None
