"""Defines and reads the settings that all packages share: database, broker, SMTP, logs, metrics port.

Two underscores join nested names: `VIGIE_BROKER__PORT=1884`. Rooms define their own settings in their module
`settings`, and `app.settings` composes all of them. This module only reads and validates; it connects to
nothing.
"""

import json
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from app.platform.config.api_settings import ApiSettings
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.setting_sources import EnvironmentSettings, Port, Seconds
from app.platform.config.telemetry_settings import TelemetrySettings


class DatabaseSettings(BaseModel):
    """PostgreSQL 17 with TimescaleDB."""

    url: str = Field(
        "postgresql://vigie@127.0.0.1:5432/vigie",
        description="Where the database is. It may name several hosts, separated by commas: Vigie uses the "
        "one that is the primary",
    )
    pool_size: int = Field(
        10,
        ge=1,
        description="Connections of a process for REST, and as many for lists; two more authenticate callers",
    )
    standby_reads: bool = Field(
        False,
        description="Read series, exports and the public register from a standby. `url` has to name several "
        "hosts",
    )
    max_standby_lag_s: Seconds = Field(
        0.25,
        description="How long such a read waits until the standby has all that was committed before; then it "
        "runs on the primary (seconds)",
    )
    command_timeout_s: Seconds = Field(30.0, description="Timeout of a statement (seconds)")
    lock_timeout_s: Seconds = Field(
        30.0, description="How long a migration tries to get its locks, for 0.4 s at a time (seconds)"
    )

    @field_validator("url")
    @classmethod
    def _postgresql(cls, value: str) -> str:
        scheme, mark, rest = value.partition("://")
        if not mark or scheme.split("+")[0] not in {"postgresql", "postgres"}:
            raise ValueError("must look like postgresql://user:password@host:port/name")
        return f"postgresql://{rest}"


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
        description="Mosquitto's password_file, which this process writes; unset: another process, or you",
    )
    static_password_file: Path | None = Field(None, description="Lines copied to the top of password_file")
    pid_file: Path | None = Field(
        None, description="Mosquitto's pid_file: the process that Vigie signals to reload"
    )
    watches_password_file: bool = Field(
        False,
        description="Another program, such as a path unit of systemd, has Mosquitto reload after each change "
        "of password_file. Vigie then sends no signal, and only waits until the accounts are in force",
    )
    tls: BrokerTlsSettings = BrokerTlsSettings()
    public_host: str | None = Field(
        None,
        description="Host of the broker in instructions for boxes; unset: the TLS listener of `vigie up`, or "
        "`host`",
    )
    public_port: Port = Field(0, description="Port in instructions for boxes; 0: that of the same listener")
    public_tls: bool | None = Field(
        None, description="Whether boxes must use TLS; unset: as for the same listener"
    )


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
        500,
        ge=0,
        description="Recipients of one organisation's mails in an hour, of a process; 0: no limit",
    )
    allow_private: bool = Field(
        False,
        description="Allow a mail server that is set by the API to have a private address, and no TLS",
    )


class LogSettings(BaseModel):
    """Structured logs, on standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged"
    )
    format: Literal["json", "console"] = Field("json", description="`json`: one object per line")


class DatabaseOnlySettings(EnvironmentSettings):
    """Settings for tools that only connect to the database: no key, no file."""

    database: DatabaseSettings = DatabaseSettings()


class PlatformSettings(DatabaseOnlySettings):
    """The settings of a process that the platform uses, whatever the rooms of the process are."""

    broker: BrokerSettings = BrokerSettings()
    api: ApiSettings = ApiSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    smtp: SmtpSettings = SmtpSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    metrics_port: Port = Field(
        0, description="Port of Prometheus metrics and /healthz for processes other than the API; 0: off"
    )
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


class InvalidSettingsError(ValueError):
    """The settings are not valid. The text names the variables and shows none of their values."""

    def __init__(self, error: ValidationError, model: type[BaseModel]) -> None:
        super().__init__(f"the settings are not valid{_faults(error, model)}")


def _faults(error: ValidationError, model: type[BaseModel]) -> str:
    """Format one line for each variable at fault. pydantic's own text quotes values, including passwords."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = [part for part in fault["loc"] if isinstance(part, str)]
        name = f"VIGIE_{'__'.join(path).upper()}"
        lines.append(f"\n  {name}: {_written(name, path, fault['type'], model) or _plain(fault['msg'])}")
    return "".join(lines)


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _written(name: str, path: list[str], fault: str, model: type[BaseModel]) -> str | None:
    """Say how to write a variable that is not a list, or not in parts; None for any other fault."""
    if fault not in {"list_type", "model_type"}:
        return None
    default: Any = reduce(getattr, path[1:], model.model_fields[path[0]].default)
    if isinstance(default, BaseModel):
        part = next(iter(type(default).model_fields)).upper()
        return f"is no setting itself: set its parts, such as {name}__{part}"
    shown = json.dumps((default or ["…", "…"])[:2], ensure_ascii=False)
    return f"must be a list in JSON, written like {name}='{shown}'"


def read_valid_settings[S: EnvironmentSettings](model: type[S]) -> S:
    """Read settings from the environment (InvalidSettingsError)."""
    try:
        return model()
    except ValidationError as error:
        raise InvalidSettingsError(error, model) from None


def read_database_settings() -> DatabaseSettings:
    """Read the database settings alone, without validating the others or reading their files."""
    return read_valid_settings(DatabaseOnlySettings).database
