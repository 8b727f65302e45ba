"""The relying party of passkeys, for each form of a public address."""

import pytest

from app.people.passkeys import PasskeyRefusedError, RelyingParty, read_credential_id


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://vigie.example.com", ("vigie.example.com", "https://vigie.example.com")),
        ("https://Vigie.Example.com:443/city", ("vigie.example.com", "https://vigie.example.com")),
        ("https://vigie.example.com:8443", ("vigie.example.com", "https://vigie.example.com:8443")),
        ("http://localhost:8000", ("localhost", "http://localhost:8000")),
        # Browsers take no address for a relying party; they reach the same server by that name.
        ("http://127.0.0.1:8000", ("localhost", "http://localhost:8000")),
        ("http://[::1]:80", ("localhost", "http://localhost")),
        ("http://vigie.example.com", None),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::7]", None),
    ],
)
def test_relying_party(base_url: str, expected: tuple[str, str] | None) -> None:
    assert RelyingParty.of(base_url) == expected


@pytest.mark.parametrize("identifier", ["é", None, 7, ["x"], "a"])
def test_what_is_no_id_finds_nothing(identifier: object) -> None:
    try:
        found = read_credential_id({"id": identifier})
    except PasskeyRefusedError:
        return
    # It may be the id of something, but of nothing that was enrolled.
    assert len(found) < 16
