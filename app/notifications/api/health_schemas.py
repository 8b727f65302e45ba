"""The shapes of an endpoint's health on the wire. Shapes only."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

type HealthState = Literal["healthy", "idle", "waiting", "failing", "open", "slowed", "disabled"]
"""How an endpoint is doing, in a word."""


class Percentiles(BaseModel):
    """Of durations, in milliseconds; null where there are none."""

    p50: float | None
    p99: float | None


class LastFailure(BaseModel):
    """The attempt that failed last, whatever succeeded since."""

    time: datetime
    reason: str = Field(examples=["http_error"])
    status: int | None = Field(examples=[503])


class HealthOut(BaseModel):
    """How an endpoint's deliveries are going."""

    state: HealthState = Field(
        description="`healthy`: the last attempt succeeded. `idle`: nothing waits, and no attempt has ended "
        "in the window. `waiting`: deliveries wait, and no attempt has ended in the window. `failing`: the "
        "last attempt failed. `slowed`: it is asked less often, as it answered 429, 502 or 504. `open`: "
        "nothing is tried before `open_until`: after failures in a row, or because the receiver asked for "
        "it. `disabled`: nothing is sent"
    )
    since: datetime = Field(
        description="From when on attempts are counted: the window, or less where there were very many"
    )
    attempts: int
    successes: int
    success_rate: float | None = Field(description="In percent; null where there were none", examples=[99.2])
    duration_ms: Percentiles = Field(description="How long attempts took")
    delay_ms: Percentiles = Field(
        description="From the event to the end of the attempt that delivered it, without replays of many"
    )
    last_success_at: datetime | None
    last_failure: LastFailure | None
    failing_since: datetime | None = Field(description="The first failure since the last success")
    consecutive_failures: int
    open_until: datetime | None = Field(description="Nothing is tried before this")
    pending: int = Field(description="Deliveries that are neither delivered nor given up")
    oldest_pending_at: datetime | None = Field(description="When the oldest of these was created")
