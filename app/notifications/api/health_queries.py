"""Computes an endpoint's health from its recent attempts, and defines the response body.

Only the newest attempts of the window are read, by the index on endpoint and time. So the query takes no
longer for an endpoint with a million attempts.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.delivery.endpoint_health import SLOW_DOWN
from app.notifications.delivery.models import Endpoint, EndpointState
from app.platform.kernel.instants import parse_iso_duration

type HealthState = Literal["healthy", "idle", "waiting", "failing", "open", "slowed", "disabled"]
"""The state of an endpoint's health."""


class Percentiles(BaseModel):
    """Percentiles of durations, in milliseconds; null if there are none."""

    p50: float | None
    p99: float | None


class LastFailure(BaseModel):
    """The last failed attempt, even if later ones succeeded."""

    time: datetime
    reason: str = Field(examples=["http_error"], description="What failed, as a code")
    status: int | None = Field(
        examples=[503], description="The HTTP status; null where there was no response"
    )


class HealthOut(BaseModel):
    """The health of an endpoint's deliveries."""

    state: HealthState = Field(
        description="`healthy`: the last attempt succeeded. `idle`: no delivery waits, and no attempt has "
        "ended "
        "in the window. `waiting`: deliveries wait, and no attempt has ended in the window. `failing`: the "
        "last attempt failed. `slowed`: attempts are less frequent, because the receiver answered 429, 502 "
        "or "
        "504. `open`: the circuit breaker stops attempts until `open_until`, after failures in a row or a "
        "`Retry-After` of the receiver. `disabled`: no event is sent"
    )
    since: datetime = Field(
        description="The start of the window in which attempts are counted; later than requested if there "
        "were "
        "very many"
    )
    attempts: int
    successes: int
    success_rate: float | None = Field(
        description="In percent; null if there were no attempts", examples=[99.2]
    )
    duration_ms: Percentiles = Field(description="Durations of attempts")
    delay_ms: Percentiles = Field(
        description="Times from the event to the end of the attempt that delivered it, without deliveries of "
        "replays"
    )
    last_success_at: datetime | None
    last_failure: LastFailure | None
    failing_since: datetime | None = Field(description="The first failure since the last success")
    consecutive_failures: int
    open_until: datetime | None = Field(description="No attempt is made before this")
    pending: int = Field(description="Deliveries that are neither delivered nor given up")
    oldest_pending_at: datetime | None = Field(description="When the oldest of these was created")


SHORTEST_S: Final = 3600
LONGEST_S: Final = 7 * 86_400
"""The shortest and the longest window, in seconds."""

MOST_ATTEMPTS: Final = 20_000
"""The most attempts that are read."""

_FIGURES: Final = text("""
WITH newest AS MATERIALIZED (
    SELECT delivery_id, started_at, duration_ms, reason = 'delivered' AS delivered
    FROM delivery_attempts
    WHERE endpoint_id = :endpoint AND started_at >= now() - make_interval(secs => :window)
    ORDER BY started_at DESC LIMIT :most
), timed AS (
    SELECT newest.*, CASE WHEN newest.delivered AND delivery.replay_id IS NULL THEN greatest(
        extract(epoch FROM newest.started_at - delivery.created_at)::float8 * 1000 + newest.duration_ms, 0
    ) END AS delay_ms
    FROM newest LEFT JOIN deliveries AS delivery ON delivery.id = newest.delivery_id
)
SELECT now() AS now, count(*) AS attempts, count(*) FILTER (WHERE delivered) AS successes,
    min(started_at) AS oldest,
    percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS durations,
    percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY delay_ms) AS delays
FROM timed
""")
_PENDING: Final = text("""
SELECT count(*) AS pending, min(created_at) AS oldest
FROM deliveries WHERE endpoint_id = :endpoint AND state = 'pending'
""")


async def read_endpoint_health(session: AsyncSession, endpoint: Endpoint, window: str) -> HealthOut:
    """Compute an endpoint's health.

    Args:
        session: For queries.
        endpoint: An endpoint of any kind.
        window: The length of the window, an ISO 8601 duration.
    """
    window_s = parse_iso_duration(window)
    figures = await _row(session, _FIGURES, endpoint.id, window=window_s, most=MOST_ATTEMPTS)
    waiting = await _row(session, _PENDING, endpoint.id)
    # An endpoint without attempts has no row, and the columns' defaults are in the database only.
    state = await session.get(EndpointState, endpoint.id) or EndpointState(
        consecutive_failures=0, slow_step=0
    )
    failure = None
    if state.last_failure_at is not None and state.last_reason is not None:
        failure = LastFailure(time=state.last_failure_at, reason=state.last_reason, status=state.last_status)
    cut = figures.attempts == MOST_ATTEMPTS
    return HealthOut(
        state=classify_health(
            endpoint, state, figures.now, attempts=figures.attempts, pending=waiting.pending
        ),
        since=figures.oldest if cut else figures.now - timedelta(seconds=window_s),
        attempts=figures.attempts,
        successes=figures.successes,
        success_rate=round(100 * figures.successes / figures.attempts, 2) if figures.attempts else None,
        duration_ms=_percentiles(figures.durations),
        delay_ms=_percentiles(figures.delays),
        last_success_at=state.last_success_at,
        last_failure=failure,
        failing_since=state.failing_since,
        consecutive_failures=state.consecutive_failures,
        open_until=state.open_until if _is_later(state.open_until, figures.now) else None,
        pending=waiting.pending,
        oldest_pending_at=waiting.oldest,
    )


async def _row(session: AsyncSession, statement: Any, endpoint: UUID, **values: float) -> Any:  # noqa: ANN401 (a row)
    return (await session.execute(statement, {"endpoint": endpoint, **values})).one()


def classify_health(
    endpoint: Endpoint, state: EndpointState, now: datetime, *, attempts: int, pending: int
) -> HealthState:
    """Return the state of an endpoint's health.

    Args:
        endpoint: The endpoint.
        state: Its stored state.
        now: The database's time.
        attempts: How many attempts have ended recently.
        pending: How many deliveries wait.
    """
    if not endpoint.enabled:
        return "disabled"
    pauses = _is_later(state.open_until, now)
    # A slowed endpoint has a pause after each attempt, also after a success. A manual attempt slows a failing
    # endpoint too, so that its whole queue is not sent immediately; that one is reported as open or failing.
    if state.slow_step and (not state.consecutive_failures or state.last_status in SLOW_DOWN):
        return "slowed"
    if pauses:
        return "open"
    if state.consecutive_failures:
        return "failing"
    if attempts:
        return "healthy"
    return "waiting" if pending else "idle"


def _is_later(one: datetime | None, other: datetime) -> bool:
    return one is not None and one > other


def _percentiles(found: list[float | None] | None) -> Percentiles:
    middle, high = (None if each is None else round(each, 3) for each in found or (None, None))
    return Percentiles(p50=middle, p99=high)
