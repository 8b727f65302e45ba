"""Every setting, its default and its unit; read from `VIGIE_…` variables or a `.env` file.

Nested names are joined by two underscores: `VIGIE_BROKER__PORT=1884`. This module only reads and
validates; nothing is connected here.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class DatabaseSettings(BaseModel):
    """PostgreSQL 17 with TimescaleDB."""

    url: str = Field("postgresql://vigie@127.0.0.1:5432/vigie", description="Where the database is")
    pool_size: int = Field(10, ge=1, description="Connections that one process may hold for REST")
    command_timeout_s: Seconds = Field(30.0, description="A statement running longer is ended (seconds)")
    lock_timeout_s: Seconds = Field(5.0, description="How long a migration waits for a lock (seconds)")

    @field_validator("url")
    @classmethod
    def _postgresql(cls, value: str) -> str:
        scheme, mark, rest = value.partition("://")
        if not mark or scheme.split("+")[0] not in {"postgresql", "postgres"}:
            raise ValueError("must look like postgresql://user:password@host:port/name")
        return f"postgresql://{rest}"

    @property
    def sqlalchemy_url(self) -> str:
        """The same address, for SQLAlchemy's asyncpg dialect."""
        return "postgresql+asyncpg" + self.url.removeprefix("postgresql")


class BrokerSettings(BaseModel):
    """The MQTT broker, and how boxes' accounts reach it."""

    host: str = Field("127.0.0.1", description="The broker's host")
    port: Port = Field(1883, description="The broker's port")
    username: str = Field("ingest", description="Account that reads every box's topics")
    password: SecretStr = Field(SecretStr(""), description="Its password")
    password_file: Path | None = Field(
        None,
        description="Mosquitto's password_file, kept by Vigie; unset: accounts are the operator's own job",
    )
    static_password_file: Path | None = Field(None, description="Lines copied to the top of password_file")
    pid_file: Path | None = Field(None, description="Mosquitto's pid_file: the process told to reload")


class IngestSettings(BaseModel):
    """The role that drains the broker into the database."""

    source: Literal["mqtt5", "aiomqtt"] = Field(
        "mqtt5", description="MQTT client: `aiomqtt` also speaks 3.1.1"
    )
    protocol: Literal["5", "3.1.1"] = Field("5", description="MQTT version of the aiomqtt source")
    client_id: str = Field(
        "vigie-ingest", description="The stable client identifier: names the broker's session"
    )
    session_expiry_s: int = Field(
        604_800, ge=0, description="How long the broker keeps the session (seconds)"
    )
    receive_maximum: int = Field(20_000, ge=1, le=65_535, description="Messages in flight unacknowledged")
    batch_messages: int = Field(10_000, ge=1, description="A batch closes at this many messages")
    batch_bytes: int = Field(8_388_608, ge=1024, description="A batch closes at this many bytes")
    batch_delay_ms: float = Field(
        20.0, ge=0, description="A batch closes this long after its first message (ms)"
    )
    buffer_bytes: int = Field(
        67_108_864, ge=65_536, description="Reading pauses above this many unacknowledged bytes"
    )
    max_future_s: float = Field(
        600.0, ge=0, description="Samples further ahead of the clock are refused (seconds)"
    )
    reconnect_min_s: Seconds = Field(0.2, description="First wait before reconnecting (seconds)")
    reconnect_max_s: Seconds = Field(10.0, description="Longest wait before reconnecting (seconds)")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive (seconds)")
    ack_enabled: bool = Field(True, description="Publish committed `seq`s to boxes registered with `ack`")


class ApiSettings(BaseModel):
    """The REST role."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: Port = Field(8000, description="Port to listen on")
    max_body_bytes: int = Field(5_242_880, ge=1024, description="A larger request body is refused (413)")
    ready_requires: list[Literal["database", "migrations", "broker", "ingest", "deliver", "maintain"]] = (
        Field(
            ["database", "migrations"],
            description="Without these `/readyz` answers 503; the others are only shown",
        )
    )


class WebhookSettings(BaseModel):
    """The role that delivers alerts to clients."""

    allow_private: bool = Field(
        False, description="Allow http, loopback and private addresses (development only)"
    )
    connect_timeout_s: Seconds = Field(5.0, description="Longest wait for a connection (seconds)")
    total_timeout_s: Seconds = Field(15.0, description="Longest wait for a whole attempt (seconds)")
    lease_s: Seconds = Field(30.0, description="A claimed delivery is free again after this (seconds)")
    concurrency: int = Field(32, ge=1, le=1000, description="Attempts under way at once")
    response_limit_bytes: int = Field(4096, ge=0, description="What is kept of a receiver's answer")
    schedule_s: list[float] = Field(
        [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
        description="Wait before each attempt (seconds), counted from the one before",
    )
    jitter: float = Field(0.1, ge=0, le=1, description="Each wait is stretched at random by up to this share")
    poll_s: Seconds = Field(1.0, description="Longest sleep between looks at the outbox when no wake-up came")

    @field_validator("lease_s")
    @classmethod
    def _longer_than_an_attempt(cls, value: float, info: object) -> float:
        total = getattr(info, "data", {}).get("total_timeout_s", 0.0)
        if value <= total:
            raise ValueError("must be longer than total_timeout_s, or a slow attempt would be sent twice")
        return value


class LogSettings(BaseModel):
    """Structured logs, on standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is written"
    )
    format: Literal["json", "console"] = Field("json", description="`json`: one object a line")


class Settings(BaseSettings):
    """The whole configuration of one process."""

    model_config = SettingsConfigDict(
        env_prefix="VIGIE_", env_nested_delimiter="__", env_file=".env", extra="ignore"
    )

    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    ingest: IngestSettings = IngestSettings()
    api: ApiSettings = ApiSettings()
    webhooks: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    metrics_port: Port = Field(0, description="Prometheus and /healthz of a role other than the API; 0: off")
    bootstrap_admin_key: SecretStr | None = Field(
        None, description="The first platform administrator's API key"
    )

    @field_validator("bootstrap_admin_key")
    @classmethod
    def _not_guessable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            return None
        least = 16
        if value is not None and len(value.get_secret_value()) < least:
            raise ValueError("must have at least 16 characters")
        return value


@cache
def get_settings() -> Settings:
    """Read the settings once per process."""
    return Settings()
