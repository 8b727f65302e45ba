import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.notifications.http.webhook_signatures import decode_secret, generate_secret, sign_message


def _headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_message(secret, message_id, timestamp, body),
    }


@given(text=st.text(), message_id=st.from_regex(r"msg_[0-9a-f]{32}", fullmatch=True))
def test_the_reference_library_verifies(text: str, message_id: str) -> None:
    secret, now = generate_secret(), int(datetime.now(UTC).timestamp())
    body = b'{"text":"' + base64.b64encode(text.encode()) + b'"}'
    Webhook(secret).verify(body, _headers(secret, message_id, now, body))


@pytest.mark.parametrize("part", ["body", "id", "timestamp", "secret"])
def test_the_reference_library_refuses_what_was_changed(part: str) -> None:
    secret, now, body = generate_secret(), int(datetime.now(UTC).timestamp()), b'{"a":1}'
    headers = _headers(secret, "msg_1", now, body)
    if part == "body":
        body = b'{"a":2}'
    elif part == "id":
        headers["webhook-id"] = "msg_2"
    elif part == "timestamp":
        headers["webhook-timestamp"] = str(now + 1)
    else:
        secret = generate_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_the_published_example() -> None:
    # From the Standard Webhooks specification's own libraries.
    signature = sign_message(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ_and_are_long_enough() -> None:
    made = {generate_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(24 <= len(decode_secret(secret)) <= 64 for secret in made)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_" + "A" * 100, "whsec_!!!!"],
)
def test_bad_secrets_are_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as caught:
        sign_message(secret, "msg_1", 0, b"{}")
    assert not secret or secret not in str(caught.value) or secret == "whsec_"


def test_a_dot_in_the_id_is_refused() -> None:
    with pytest.raises(ValueError, match="dot"):
        sign_message(generate_secret(), "msg.1", 0, b"{}")
