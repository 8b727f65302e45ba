"""Signs messages according to Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

Pure. Secrets and time are arguments.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

PREFIX: Final = "whsec_"
VERSION: Final = "v1"
_SECRET_BYTES: Final = 32  # as long as the hash: more adds no security
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64


def generate_secret() -> str:
    """Generate a secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def decode_secret(secret: str) -> bytes:
    """Decode the key of a secret: 24 to 64 bytes.

    Raises:
        ValueError: It is not a Standard Webhooks secret. The message never contains the secret.
    """
    if not secret.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is base64 after its prefix") from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(f"a webhook secret has {_LEAST_BYTES} to {_MOST_BYTES} bytes")
    return key


def sign_message(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Compute the `webhook-signature` of a message: `v1,` and base64.

    Args:
        secret: The secret, `whsec_…`.
        message_id: The `webhook-id`. A dot in it would make the signed text ambiguous.
        timestamp: The `webhook-timestamp`: whole seconds since the epoch.
        body: The exact bytes that are sent.

    Raises:
        ValueError: The secret is invalid, or the id contains a dot.
    """
    if "." in message_id:
        raise ValueError("a message id must not contain a dot")
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digest = hmac.digest(decode_secret(secret), signed, hashlib.sha256)
    return f"{VERSION},{base64.b64encode(digest).decode()}"
