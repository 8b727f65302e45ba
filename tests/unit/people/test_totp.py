"""Codes of authenticator apps: those of RFC 6238, half a minute early or late, each once."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from app.people.totp import find_totp_step, generate_totp_secret, make_totp_uri

# "12345678901234567890", the secret of RFC 6238, appendix B; its codes there have eight digits.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
VECTORS = {59: "287082", 1111111109: "081804", 1111111111: "050471", 2000000000: "279037"}


@pytest.mark.parametrize(("second", "code"), VECTORS.items())
def test_the_vectors_of_the_standard(second: int, code: str) -> None:
    assert find_totp_step(SECRET, code, datetime.fromtimestamp(second, UTC), None) == second // 30


@pytest.mark.parametrize(
    ("late_s", "accepted"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)]
)
def test_clocks_may_differ_by_half_a_minute(late_s: int, accepted: bool) -> None:  # noqa: FBT001 (a parameter)
    now = datetime.fromtimestamp(1111111111 + late_s, UTC)
    found = find_totp_step(SECRET, VECTORS[1111111111], now, None)
    assert (found is not None) is accepted


def test_no_code_is_accepted_twice_or_after_a_later_one() -> None:
    now = datetime.fromtimestamp(1111111111, UTC)
    code, step = VECTORS[1111111111], 1111111111 // 30
    assert find_totp_step(SECRET, code, now, step - 1) == step
    assert find_totp_step(SECRET, code, now, step) is None
    assert find_totp_step(SECRET, code, now, step + 1) is None
    assert find_totp_step(SECRET, "000000", now, None) is None


def test_a_secret_has_160_bits_and_a_uri() -> None:
    secret = generate_totp_secret()
    assert (len(secret), secret != generate_totp_secret()) == (32, True)
    uri = urlsplit(make_totp_uri(secret, "ada+city@example.com"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Vigie:ada%2Bcity%40example.com")
    assert {name: values[0] for name, values in parse_qs(uri.query).items()}.items() >= {
        "secret": secret,
        "issuer": "Vigie",
    }.items()
