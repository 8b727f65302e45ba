"""Settings of people's sign-in: how long it holds, how it is guarded, and an OpenID Connect provider."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from app.platform.config.setting_sources import Seconds
from app.platform.kernel.client_addresses import is_loopback


class SessionSettings(BaseModel):
    """People who sign in."""

    idle_s: Seconds = Field(43_200.0, description="A sign-in that is not used ends after this (seconds)")
    absolute_s: Seconds = Field(604_800.0, description="Any sign-in ends after this (seconds)")
    at_once: int = Field(
        20, ge=1, description="Sign-ins that a person may have at once; one more ends the oldest"
    )
    invitation_s: Seconds = Field(604_800.0, description="How long an invitation is open (seconds)")
    reset_s: Seconds = Field(86_400.0, description="How long a token for a new password holds (seconds)")
    attempts: int = Field(
        20, ge=1, description="Sign-ins that one address may try in a window; what succeeds is not counted"
    )
    account_attempts: int = Field(
        50, ge=1, description="Passwords that may be tried for one e-mail address in a window"
    )
    checks: int = Field(
        300, ge=1, description="Passwords that one address may have checked in a window, right ones included"
    )
    account_checks: int = Field(
        100,
        ge=1,
        description="Passwords checked for one e-mail address in a window, right ones included",
    )
    attempts_window_s: Seconds = Field(600.0, description="That window, of all four (seconds)")
    hash_memory_kib: int = Field(65_536, ge=19_456, description="Memory of one argon2id hash (KiB)")
    hash_passes: int = Field(2, ge=2, description="Its passes over that memory")
    hashes_at_once: int = Field(2, ge=1, description="Passwords that one process hashes at once")


class OidcSettings(BaseModel):
    """Sign-in through an OpenID Connect provider."""

    issuer: str | None = Field(
        None, description="The provider's issuer, such as `https://login.example.com/realms/city`; unset: off"
    )
    client_id: str = Field("", description="What Vigie is called there")
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret there")
    scopes: str = Field("openid email profile", description="What is asked for, with spaces between")
    name: str = Field("OpenID Connect", description="What people call the provider")

    @field_validator("issuer")
    @classmethod
    def _guarded(cls, value: str | None) -> str | None:
        if value is not None and not is_secure_provider_url(value):
            raise ValueError("must begin with https:// (http:// only on this machine), without ? and #")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.issuer is not None and not (self.client_id and self.client_secret.get_secret_value()):
            raise ValueError("client_id and client_secret must be set where issuer is")
        if "openid" not in self.scopes.split():
            raise ValueError("scopes must have openid")
        return self


def is_secure_provider_url(url: str) -> bool:
    """Whether a provider's URL is one that nobody on the way can answer in its place."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
