"""The settings of the REST role."""

import re
from ipaddress import ip_network
from typing import Final, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from app.platform.config.setting_sources import Port, Seconds

# What a browser sends as Origin: no path, no slash at the end, in lower case.
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")


class ApiSettings(BaseModel):
    """The REST role."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: Port = Field(8000, description="Port to listen on")
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+(/[^\s]*)?)?$",
        description="Where clients reach the API, for links in what is sent; empty: its port on 127.0.0.1",
    )
    max_body_bytes: int = Field(
        5_242_880,
        ge=1024,
        description="A larger request body is refused (413); what has no long lists takes 256 KiB at most",
    )
    patience_s: Seconds = Field(
        30.0,
        description="How long a request's head may take to arrive, how long its body may (408), "
        "and how long an answer may wait to be read on (seconds)",
    )
    stream_keepalive_s: Seconds = Field(
        15.0, description="A stream of events that has nothing to say says so after this (seconds)"
    )
    streams_max: int = Field(500, ge=1, description="Streams of events that one process keeps open")
    streams_per_organisation: int = Field(20, ge=1, description="Of these for one organisation")
    ready_requires: list[Literal["database", "migrations", "broker", "ingest", "deliver", "maintain"]] = (
        Field(
            ["database", "migrations"],
            description="Without these `/readyz` answers 503; the others are only shown",
        )
    )

    rate_per_s: float = Field(
        25.0, ge=0, description="Requests a second that an API key may make in the long run; 0: no limit"
    )
    rate_burst: int = Field(1000, ge=1, description="Of these, how many may come at once after a pause")
    anonymous_rate_per_s: float = Field(
        20.0, ge=0, description="The same for an address whose requests show no API key, or a wrong one"
    )
    anonymous_rate_burst: int = Field(1000, ge=1, description="Of these, how many may come at once")
    telemetry_rate_per_s: float = Field(
        200.0, ge=0, description="The same for calls that bring samples, of a key or of an address without"
    )
    telemetry_rate_burst: int = Field(2000, ge=1, description="Of these, how many may come at once")
    organisation_rate_per_s: float = Field(
        50.0,
        ge=0,
        description="Requests a second of an organisation, all of its keys and people together; "
        "0: no limit, for integrators neither",
    )
    organisation_rate_burst: int = Field(2000, ge=1, description="Of these, how many may come at once")
    organisation_telemetry_rate_per_s: float = Field(
        200.0, ge=0, description="The same for calls that bring samples; 0: no limit, for integrators neither"
    )
    organisation_telemetry_rate_burst: int = Field(
        2000, ge=1, description="Of these, how many may come at once"
    )
    integrator_factor: int = Field(
        4,
        ge=1,
        description="An integrator and its clients together may ask so many times what one organisation may, "
        "and open so many times its streams",
    )
    running_per_key: int = Field(
        6,
        ge=0,
        description="Requests of a key that are worked on at once, and of those of an address whose keys are "
        "not known yet; further ones wait their turn; 0: no limit",
    )
    waiting_per_key: int = Field(
        100, ge=0, description="Requests of a key that may wait for their turn; more are refused (429)"
    )
    running_per_organisation: int = Field(
        6,
        ge=0,
        description="Requests of an organisation that are worked on at once, and calls that bring its "
        "samples; always fewer than the database connections of each; 0: no limit, for integrators neither",
    )
    running_per_integrator: int = Field(
        8, ge=1, description="The same for an integrator and its clients together"
    )
    waiting_per_organisation: int = Field(
        200,
        ge=0,
        description="Requests of an organisation that may wait for their turn, and of an integrator with its "
        "clients; more are refused (429)",
    )
    deadline_s: Seconds = Field(
        60.0, description="A request that has no answer by then is ended (504); streams may go on (seconds)"
    )
    cors_origins: list[str] = Field(
        [],
        description="Web pages that may call the API from a browser, such as `https://app.example.com`; "
        "empty: none",
    )
    trusted_proxies: list[str] = Field(
        [],
        description="Addresses or networks of reverse proxies whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed; empty: nobody's",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="What Prometheus sends as bearer token to read `/metrics`; unset: only clients on this "
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
        """Where links begin, without a slash at the end."""
        return self.public_url.rstrip("/") or f"http://127.0.0.1:{self.port}"
