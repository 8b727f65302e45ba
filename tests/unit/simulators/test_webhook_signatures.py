"""Signatures, against the package that the standard's authors publish."""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from simulators.webhook_signatures import (
    InvalidSignatureError,
    compute_signature,
    decode_secret,
    verify_signature,
)

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
KEY = decode_secret(SECRET)


def headers(body: bytes, at: int) -> dict[str, str]:
    signed = Webhook(SECRET).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signed}


@given(st.text())
def test_what_the_package_signs_is_verified(text: str) -> None:
    body = text.encode("utf-8", "replace")
    assert verify_signature([KEY], headers(body, 1_700_000_000), body, 1_700_000_100.0) == "msg_1"


def test_what_is_signed_here_the_package_verifies() -> None:
    now = str(int(time.time()))
    body = b'{"type":"x"}'
    signed = {
        "webhook-id": "msg_2",
        "webhook-timestamp": now,
        "webhook-signature": f"v1a,no v1,{compute_signature(KEY, 'msg_2', now, body)}",
    }
    assert Webhook(SECRET).verify(body, signed) == {"type": "x"}
    assert verify_signature([KEY], signed, body, time.time()) == "msg_2"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"webhook-id": "msg_other"}, "no signature"),
        ({"webhook-timestamp": "1700000001"}, "no signature"),
        ({"webhook-timestamp": "soon"}, "not a number"),
        ({"webhook-signature": ""}, "no signature"),
        ({"webhook-signature": "v2,abc"}, "no signature"),
    ],
)
def test_a_changed_header_is_noticed(change: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidSignatureError, match=why):
        verify_signature([KEY], {**headers(b"{}", 1_700_000_000), **change}, b"{}", 1_700_000_000.0)


def test_a_changed_body_a_missing_header_and_an_old_message_are_noticed() -> None:
    good = headers(b"{}", 1_700_000_000)
    with pytest.raises(InvalidSignatureError, match="no signature"):
        verify_signature([KEY], good, b"{ }", 1_700_000_000.0)
    with pytest.raises(InvalidSignatureError, match="missing"):
        verify_signature([KEY], {"webhook-id": "x"}, b"{}", 1_700_000_000.0)
    with pytest.raises(InvalidSignatureError, match="away"):
        verify_signature([KEY], good, b"{}", 1_700_000_301.0)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!"])
def test_a_broken_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        decode_secret(secret)


def test_any_of_several_secrets_and_any_of_several_signatures() -> None:
    other = decode_secret("whsec_" + base64.b64encode(b"x" * 32).decode())
    now = "1700000000"
    both = " ".join(f"v1,{compute_signature(key, 'msg_1', now, b'{}')}" for key in (other, KEY))
    signed = {**headers(b"{}", 1_700_000_000), "webhook-signature": both}
    for keys in ([KEY], [other], [KEY, other]):
        assert verify_signature(keys, signed, b"{}", 1_700_000_000.0) == "msg_1"
    assert verify_signature([other, KEY], headers(b"{}", 1_700_000_000), b"{}", 1_700_000_000.0) == "msg_1"
    with pytest.raises(InvalidSignatureError, match="no signature"):
        verify_signature([], signed, b"{}", 1_700_000_000.0)
