"""Defines the settings of the API process."""

import re
from ipaddress import ip_network
from typing import Final, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from app.platform.config.setting_sources import Port, Seconds

# The form of a browser's Origin header: no path, no trailing slash, lower case.
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")


class ApiSettings(BaseModel):
    """The API process."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: Port = Field(8000, description="Port to listen on")
    workers: int = Field(
        1, ge=1, le=64, description="Processes that serve the API; they share its port and the rate limits"
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
        description="Base URL of the API in links of mails and deliveries; empty: its port on 127.0.0.1",
    )
    max_body_bytes: int = Field(
        5_242_880,
        ge=1024,
        description="Largest request body (413 above it); calls without long lists accept 256 KiB at most",
    )
    patience_s: Seconds = Field(
        30.0,
        description="Timeout for a request's head, for its body (408), and for a client "
        "that stops reading a response (seconds)",
    )
    stream_keepalive_s: Seconds = Field(
        15.0, description="Interval of keep-alive messages in event streams without events (seconds)"
    )
    streams_max: int = Field(500, ge=1, description="Event streams that one process holds open")
    streams_per_organisation: int = Field(20, ge=1, description="Of these for one organisation")
    ready_requires: list[Literal["database", "migrations", "broker", "ingest", "deliver", "maintain"]] = (
        Field(
            ["database", "migrations"],
            description="Dependencies that `/readyz` requires (503 without them); it reports the others too",
        )
    )

    rate_per_s: float = Field(
        25.0, ge=0, description="Requests a second of an API key in the long run; 0: no limit"
    )
    rate_burst: int = Field(
        1000, ge=1, description="Burst of these: requests that may come together after a pause"
    )
    anonymous_rate_per_s: float = Field(
        20.0, ge=0, description="The same for an address whose requests have no API key, or a wrong one"
    )
    anonymous_rate_burst: int = Field(1000, ge=1, description="Burst of these")
    telemetry_rate_per_s: float = Field(
        200.0, ge=0, description="The same for calls that send samples, of a key or of an address without one"
    )
    telemetry_rate_burst: int = Field(2000, ge=1, description="Burst of these")
    organisation_rate_per_s: float = Field(
        50.0,
        ge=0,
        description="Requests a second of an organisation, all of its keys and people together; "
        "0: no limit, for integrators neither",
    )
    organisation_rate_burst: int = Field(2000, ge=1, description="Burst of these")
    organisation_telemetry_rate_per_s: float = Field(
        200.0, ge=0, description="The same for calls that send samples; 0: no limit, for integrators neither"
    )
    organisation_telemetry_rate_burst: int = Field(2000, ge=1, description="Burst of these")
    integrator_factor: int = Field(
        4,
        ge=1,
        description="Rate limits and event streams of an integrator with its clients, "
        "as a multiple of those of one organisation",
    )
    running_per_key: int = Field(
        6,
        ge=0,
        description="Concurrent requests of a key, or of an address whose keys are not known yet; "
        "further ones are queued; 0: no limit",
    )
    waiting_per_key: int = Field(100, ge=0, description="Queued requests of a key; more are refused (429)")
    running_per_organisation: int = Field(
        6,
        ge=0,
        description="Concurrent requests of an organisation, and concurrent calls that send its samples; "
        "always fewer than the database connections of each; 0: no limit, for integrators neither",
    )
    running_per_integrator: int = Field(
        8, ge=1, description="The same for an integrator and its clients together"
    )
    waiting_per_organisation: int = Field(
        200,
        ge=0,
        description="Queued requests of an organisation, and of an integrator with its clients; "
        "more are refused (429)",
    )
    deadline_s: Seconds = Field(
        60.0,
        description="Timeout of a request without a response (504); event streams may continue (seconds)",
    )
    cors_origins: list[str] = Field(
        [],
        description="Origins of web pages that may call the API, such as `https://app.example.com`; "
        "empty: none",
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Addresses or networks of reverse proxies whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are trusted; empty: none",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token with which Prometheus reads `/metrics`; unset: only clients on this "
        "machine may",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("must be origins such as https://app.example.com, each named; no `*`")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"must be addresses or networks such as 10.0.0.0/8: {error}") from None
        return value

    @property
    def base_url(self) -> str:
        """The base of all links, without a trailing slash."""
        return self.public_url.rstrip("/") or f"http://127.0.0.1:{self.port}"
