"""Defines the settings of sign-in: session lifetime, attempt limits, and an OpenID Connect provider."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from app.platform.config.setting_sources import Seconds
from app.platform.kernel.ip_addresses import is_loopback


class SessionSettings(BaseModel):
    """Sessions of people who sign in."""

    idle_s: Seconds = Field(43_200.0, description="An unused session ends after this (seconds)")
    absolute_s: Seconds = Field(604_800.0, description="Every session ends after this (seconds)")
    at_once: int = Field(20, ge=1, description="Concurrent sessions of a person; one more ends the oldest")
    invitation_s: Seconds = Field(604_800.0, description="Lifetime of an invitation (seconds)")
    reset_s: Seconds = Field(86_400.0, description="Lifetime of a token for a password reset (seconds)")
    attempts: int = Field(20, ge=1, description="Failed sign-ins of one address in a window")
    account_attempts: int = Field(50, ge=1, description="Wrong passwords for one e-mail address in a window")
    checks: int = Field(
        300, ge=1, description="Passwords checked for one address in a window, right ones included"
    )
    account_checks: int = Field(
        100,
        ge=1,
        description="Passwords checked for one e-mail address in a window, right ones included",
    )
    attempts_window_s: Seconds = Field(600.0, description="That window, of all four (seconds)")
    recent_s: Seconds = Field(
        900.0,
        description="Second factors can be changed for this long after a sign-in; later the person has to "
        "prove again who they are (seconds)",
    )
    challenge_s: Seconds = Field(
        300.0, description="Time to answer with a second factor or a passkey (seconds)"
    )
    factor_attempts: int = Field(20, ge=1, description="Wrong second factors of one person in a window")
    factor_window_s: Seconds = Field(86_400.0, description="That window (seconds)")
    hash_memory_kib: int = Field(65_536, ge=19_456, description="Memory of one argon2id hash (KiB)")
    hash_passes: int = Field(2, ge=2, description="Its passes over that memory")
    hashes_at_once: int = Field(2, ge=1, description="Passwords that one process hashes concurrently")


class OidcSettings(BaseModel):
    """Sign-in through an OpenID Connect provider."""

    issuer: str | None = Field(
        None, description="The provider's issuer, such as `https://login.example.com/realms/city`; unset: off"
    )
    client_id: str = Field("", description="Vigie's client id at the provider")
    client_secret: SecretStr = Field(SecretStr(""), description="Vigie's client secret at the provider")
    scopes: str = Field("openid email profile", description="Requested scopes, separated by spaces")
    name: str = Field("OpenID Connect", description="Display name of the provider")

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
    """Return whether a provider's URL is https, or http on this machine. Others allow impersonation."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
