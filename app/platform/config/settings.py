"""Defines every setting with its default and unit; values come from `VIGIE_…` variables or a `.env` file.

Two underscores join nested names: `VIGIE_BROKER__PORT=1884`. This module only reads and validates; it
connects to nothing.
"""

import json
from functools import cache, reduce
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from app.platform.config.api_settings import ApiSettings
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.incident_settings import IncidentSettings
from app.platform.config.privacy_request_settings import RightsSettings
from app.platform.config.quota_settings import QuotaSettings
from app.platform.config.register_settings import RegisterSettings
from app.platform.config.security_findings import SecurityFindingCode
from app.platform.config.setting_sources import EnvironmentSettings, Port, Seconds
from app.platform.config.sign_in_settings import OidcSettings, SessionSettings


class DatabaseSettings(BaseModel):
    """PostgreSQL 17 with TimescaleDB."""

    url: str = Field("postgresql://vigie@127.0.0.1:5432/vigie", description="Where the database is")
    pool_size: int = Field(
        10, ge=1, description="Connections of a process for REST; two more authenticate callers"
    )
    command_timeout_s: Seconds = Field(30.0, description="Timeout of a statement (seconds)")
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
        """The same URL, for SQLAlchemy's asyncpg dialect."""
        return "postgresql+asyncpg" + self.url.removeprefix("postgresql")


class BrokerTlsSettings(BaseModel):
    """TLS from Vigie's processes to the broker."""

    enabled: bool = Field(False, description="Speak TLS to the broker, and check its certificate and name")
    ca_file: Path | None = Field(
        None, description="CA certificates of the broker (PEM); unset: those that this machine trusts"
    )
    certificate_file: Path | None = Field(
        None, description="Client certificate of Vigie's processes (PEM), where the broker requires one"
    )
    key_file: Path | None = Field(None, description="Its private key (PEM), without a passphrase")


class BrokerSettings(BaseModel):
    """The MQTT broker, and the accounts of boxes at it."""

    host: str = Field("127.0.0.1", description="The broker's host")
    port: Port = Field(1883, description="The broker's port")
    username: str = Field("ingest", description="Account that reads every box's topics")
    password: SecretStr = Field(SecretStr(""), description="Its password")
    password_file: Path | None = Field(
        None,
        description="Mosquitto's password_file, which Vigie writes; unset: the operator manages accounts",
    )
    static_password_file: Path | None = Field(None, description="Lines copied to the top of password_file")
    pid_file: Path | None = Field(
        None, description="Mosquitto's pid_file: the process that Vigie signals to reload"
    )
    tls: BrokerTlsSettings = BrokerTlsSettings()


class TlsListenerSettings(BaseModel):
    """A second listener of the broker of `vigie up`, for remote boxes."""

    port: Port = Field(0, description="TLS port of the broker of `vigie up`, for remote boxes; 0: none")
    host: str = Field("0.0.0.0", description="Address that it listens on")  # noqa: S104 (off by default)
    certificate_file: Path | None = Field(None, description="The broker's certificate and its chain (PEM)")
    key_file: Path | None = Field(None, description="Its private key (PEM), without a passphrase")
    client_ca_file: Path | None = Field(None, description="CA certificates of boxes (PEM)")
    client_crl_file: Path | None = Field(None, description="Revoked certificates of boxes (PEM)")
    clients: Literal["password", "certificate", "identity"] = Field(
        "password",
        description="How boxes authenticate: with a password; a certificate and a password; or a certificate "
        "alone, with the box's id as its common name",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.port:
            return self
        if self.certificate_file is None or self.key_file is None:
            raise ValueError("certificate_file and key_file must be set where port is")
        if self.clients != "password" and self.client_ca_file is None:
            raise ValueError("client_ca_file must be set where boxes show certificates")
        return self


class SitesSettings(BaseModel):
    """Sites and their boxes."""

    silent_intervals: float = Field(
        3.0,
        gt=0,
        description="A box is silent after this many of its intervals without a message, and ten seconds",
    )


class EnrolmentSettings(BaseModel):
    """Registration of boxes without an API key."""

    enabled: bool = Field(False, description="Boxes may register themselves with a provisioning key")
    attempts: int = Field(
        20, ge=1, description="Claim codes that one address may try in a window, and attempts at one code"
    )
    attempts_window_s: Seconds = Field(600.0, description="That window (seconds)")


class IngestSettings(BaseModel):
    """The process that drains the broker into the database."""

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
        600.0, ge=0, description="Samples further in the future are refused (seconds)"
    )
    reconnect_min_s: Seconds = Field(0.2, description="First wait before reconnecting (seconds)")
    reconnect_max_s: Seconds = Field(10.0, description="Longest wait before reconnecting (seconds)")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive (seconds)")
    ack_enabled: bool = Field(True, description="Publish committed `seq`s to boxes registered with `ack`")


class QuarantineSettings(BaseModel):
    """Refused messages."""

    keep_days: int = Field(30, ge=0, description="Retention of refused messages (days); 0: forever")


class SmtpSettings(BaseModel):
    """The mail server that e-mail channels and invitations are sent through."""

    host: str | None = Field(
        None, description="The mail server; unset: the one that `PUT /v1/settings/mail` set, or none"
    )
    port: Port = Field(587, description="Its port")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="TLS after STARTTLS, from the first byte, or not at all"
    )
    ca_file: Path | None = Field(
        None, description="CA certificates of the server (PEM); unset: those that this machine trusts"
    )
    username: str | None = Field(None, description="Account at the server; unset: without logging in")
    password: SecretStr = Field(SecretStr(""), description="Its password")
    sender: str = Field("Vigie <vigie@localhost>", description="Sender of mails: `Name <address>`")
    timeout_s: Seconds = Field(15.0, description="Timeout of each response (seconds)")
    recipient_domains: list[str] = Field(
        [], description="Domains of recipients; empty: any. For installations that many clients share"
    )
    mails_per_hour: int = Field(
        500, ge=0, description="Mails of one organisation in an hour, of a process; 0: no limit"
    )
    allow_private: bool = Field(
        False,
        description="Allow a mail server that is set by the API to have a private address, and no TLS",
    )


class WebhookSettings(BaseModel):
    """The process that delivers alerts to clients."""

    allow_private: bool = Field(
        False, description="Allow http, loopback and private addresses (development only)"
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
        "info", description="Lowest level that is logged"
    )
    format: Literal["json", "console"] = Field("json", description="`json`: one object per line")


class DatabaseOnlySettings(EnvironmentSettings):
    """Settings for tools that only connect to the database: no key, no file."""

    database: DatabaseSettings = DatabaseSettings()


class VigieSettings(DatabaseOnlySettings):
    """The whole configuration of one process."""

    broker: BrokerSettings = BrokerSettings()
    tls_listener: TlsListenerSettings = TlsListenerSettings()
    sites: SitesSettings = SitesSettings()
    quotas: QuotaSettings = QuotaSettings()
    incidents: IncidentSettings = IncidentSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    ingest: IngestSettings = IngestSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    api: ApiSettings = ApiSettings()
    rights: RightsSettings = RightsSettings()
    sessions: SessionSettings = SessionSettings()
    oidc: OidcSettings = OidcSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    smtp: SmtpSettings = SmtpSettings()
    webhooks: WebhookSettings = WebhookSettings()
    public_register: RegisterSettings = RegisterSettings()
    log: LogSettings = LogSettings()
    metrics_port: Port = Field(
        0, description="Port of Prometheus metrics and /healthz for processes other than the API; 0: off"
    )
    bootstrap_admin_key: SecretStr | None = Field(
        None, description="The first platform administrator's API key"
    )
    allow_insecure: list[SecurityFindingCode] = Field(
        [], description="Codes of security findings with which processes start nevertheless"
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


class InvalidSettingsError(ValueError):
    """The settings are not valid. The text names the variables and shows none of their values."""

    def __init__(self, error: ValidationError) -> None:
        super().__init__(f"the settings are not valid{_faults(error)}")


def _faults(error: ValidationError) -> str:
    """Format one line for each variable at fault. pydantic's own text quotes values, including passwords."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = [part for part in fault["loc"] if isinstance(part, str)]
        name = f"VIGIE_{'__'.join(path).upper()}"
        lines.append(f"\n  {name}: {_written(name, path, fault['type']) or _plain(fault['msg'])}")
    return "".join(lines)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _written(name: str, path: list[str], fault: str) -> str | None:
    """Say how to write a variable that is not a list, or not in parts; None for any other fault."""
    if fault not in {"list_type", "model_type"}:
        return None
    default: Any = reduce(getattr, path[1:], VigieSettings.model_fields[path[0]].default)
    if isinstance(default, BaseModel):
        part = next(iter(type(default).model_fields)).upper()
        return f"is no setting itself: set its parts, such as {name}__{part}"
    shown = json.dumps((default or ["…", "…"])[:2], ensure_ascii=False)
    return f"must be a list in JSON, written like {name}='{shown}'"


def read_settings() -> VigieSettings:
    """Read the settings again (InvalidSettingsError)."""
    try:
        return VigieSettings()
    except ValidationError as error:
        raise InvalidSettingsError(error) from None


def read_database_settings() -> DatabaseSettings:
    """Read the database settings alone, without validating the others or reading their files."""
    try:
        return DatabaseOnlySettings().database
    except ValidationError as error:
        raise InvalidSettingsError(error) from None


@cache
def get_settings() -> VigieSettings:
    """Read the settings once per process.

    Raises:
        InvalidSettingsError: the settings are not valid.
    """
    return read_settings()
