"""Settings of sign-in: a provider is asked over TLS, and only where all is there."""

import pytest
from pydantic import ValidationError

from app.people.settings import OidcSettings, is_secure_provider_url

WHOLE = {"client_id": "vigie", "client_secret": "secret"}


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com",
        "https://login.example.com:8443/realms/city",
        "http://127.0.0.1:9400",
        "http://[::1]:9400",
        "http://localhost/x",
    ],
)
def test_taken(url: str) -> None:
    assert is_secure_provider_url(url)
    assert OidcSettings.model_validate({"issuer": url, **WHOLE}).issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1",
        "https://user@login.example.com",
        "https://login.example.com?x",
        "https://login.example.com#x",
        "https://",
        "ftp://127.0.0.1",
        "https://[::1",
        "login.example.com",
    ],
)
def test_refused(url: str) -> None:
    assert not is_secure_provider_url(url)
    with pytest.raises(ValidationError):
        OidcSettings.model_validate({"issuer": url, **WHOLE})


@pytest.mark.parametrize("lacking", ["client_id", "client_secret"])
def test_a_provider_needs_an_account_there(lacking: str) -> None:
    values = {"issuer": "https://login.example.com", **WHOLE}
    values.pop(lacking)
    with pytest.raises(ValidationError, match="must be set where issuer is"):
        OidcSettings.model_validate(values)
