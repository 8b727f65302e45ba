"""Defines the settings of traces and metrics that Vigie exports by OTLP."""

from pydantic import BaseModel, Field, SecretStr, field_validator

from app.platform.config.setting_sources import Seconds


class TelemetrySettings(BaseModel):
    """OpenTelemetry: off unless an endpoint is set."""

    endpoint: str | None = Field(
        None,
        description="Collector of traces and metrics by OTLP over HTTP, such as `http://127.0.0.1:4318`; "
        "unset: no telemetry",
    )
    traces_endpoint: str | None = Field(
        None, description="Whole URL for traces; unset: `/v1/traces` at the collector"
    )
    metrics_endpoint: str | None = Field(
        None, description="Whole URL for metrics; unset: `/v1/metrics` at the collector"
    )
    headers: dict[str, SecretStr] = Field(
        {}, description='Headers of exports, in JSON: `{"authorization": "Bearer …"}`'
    )
    sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of traces that are exported; a client's sampled `traceparent` is always exported",
    )
    metrics_interval_s: Seconds = Field(30.0, description="Pause between exports of metrics (seconds)")

    @field_validator("endpoint", "traces_endpoint", "metrics_endpoint")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @property
    def traces_url(self) -> str | None:
        """Where traces go; None: nowhere."""
        return self._resolve(self.traces_endpoint, "/v1/traces")

    @property
    def metrics_url(self) -> str | None:
        """Where metrics go; None: nowhere."""
        return self._resolve(self.metrics_endpoint, "/v1/metrics")

    @property
    def plain_headers(self) -> dict[str, str]:
        """The headers with their values."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}

    def _resolve(self, whole: str | None, path: str) -> str | None:
        return whole or (f"{self.endpoint.rstrip('/')}{path}" if self.endpoint else None)
