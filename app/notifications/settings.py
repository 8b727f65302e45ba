"""Defines the settings of the delivery process: timeouts, retries, health of endpoints, retention."""

from pydantic import BaseModel, Field, field_validator

from app.platform.config.setting_sources import Seconds


class WebhookSettings(BaseModel):
    """The process that delivers alerts to clients."""

    allow_private: bool = Field(
        False, description="Allow http, loopback and private addresses (development only)"
    )
    allow_kafka: bool = Field(
        False,
        description="Allow measurement sinks of the kind `kafka`, whose library connects to brokers that "
        "Vigie cannot check; `ALLOW_PRIVATE` allows them too",
    )
    connect_timeout_s: Seconds = Field(5.0, description="Timeout of a connection (seconds)")
    total_timeout_s: Seconds = Field(15.0, description="Timeout of a whole attempt (seconds)")
    lease_s: Seconds = Field(30.0, description="Lease of a delivery (seconds)")
    concurrency: int = Field(128, ge=1, le=1000, description="Concurrent attempts of a process")
    endpoint_concurrency: int = Field(
        8, ge=1, le=100, description="Of these for one endpoint, unless the endpoint sets a lower limit"
    )
    retry_after_max_s: Seconds = Field(
        86_400.0, description="Longest Retry-After of a receiver that is respected (seconds)"
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        description="After this many failures in a row the circuit breaker opens: one attempt at a time",
    )
    breaker_max_s: Seconds = Field(60.0, description="Longest back-off between such attempts (seconds)")
    warn_after_s: Seconds = Field(
        86_400.0, description="Time without a success after which `endpoint.failing` is sent (seconds)"
    )
    disable_after_s: Seconds = Field(
        432_000.0, description="Time without a success after which an endpoint is disabled (seconds)"
    )
    keep_days: int = Field(30, ge=1, description="Retention of deliveries and their attempts (days)")
    keep_events_days: int = Field(
        7, ge=1, description="Retention of events, from which streams can resume (days)"
    )
    response_limit_bytes: int = Field(
        4096, ge=0, description="Bytes of a receiver's response that are stored"
    )
    schedule_s: list[float] = Field(
        [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
        description="Back-off before each attempt (seconds), counted from the previous one",
    )
    jitter: float = Field(0.1, ge=0, le=1, description="Random extension of each back-off, as a share of it")
    poll_s: Seconds = Field(
        1.0, description="Interval of polling the outbox without a notification (seconds)"
    )

    @property
    def allows_kafka(self) -> bool:
        """Whether sinks of the kind `kafka` are allowed."""
        return self.allow_kafka or self.allow_private

    @field_validator("lease_s")
    @classmethod
    def _longer_than_an_attempt(cls, value: float, info: object) -> float:
        total = getattr(info, "data", {}).get("total_timeout_s", 0.0)
        if value <= total:
            raise ValueError("must be longer than total_timeout_s, or a slow attempt would be sent twice")
        return value
