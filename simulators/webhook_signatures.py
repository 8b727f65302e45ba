"""Verifies signature and age of a received message by Standard Webhooks 1.0. Pure.

It checks the sender, so it implements the specification without the sender's code.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

TOLERANCE_S: Final = 300
"""An older or newer message is refused (seconds), since it may be a replay attack."""

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"


class InvalidSignatureError(Exception):
    """The message does not have a valid signature. The text gives the reason."""


def decode_secret(secret: str) -> bytes:
    """Decode a secret, which is base64 after `whsec_`.

    Raises:
        ValueError: The secret has another format.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base64 after whsec_") from error
    if not key:
        raise ValueError("the secret is empty")
    return key


def compute_signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Compute the signature of a message, in base64."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def verify_signature(keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """Verify a message.

    Args:
        keys: The decoded secrets; several during a rotation, of which any may match.
        headers: The request's headers; the mapping should ignore the case of names.
        body: The body's bytes, as received.
        now_s: The current time (seconds since 1970).

    Returns:
        The message's id, the same for each attempt.

    Raises:
        InvalidSignatureError: A header is missing, no signature matches, or the time differs too much.
    """
    try:
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
    except KeyError as error:
        raise InvalidSignatureError(f"the header {error.args[0]} is missing") from None
    if not timestamp.isascii() or not timestamp.isdecimal():
        raise InvalidSignatureError("webhook-timestamp is not a number of seconds since 1970")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise InvalidSignatureError(f"webhook-timestamp is {now_s - int(timestamp):+.0f} s away")
    wanted = [compute_signature(key, message_id, timestamp, body).encode() for key in keys]
    # During a rotation a message has several signatures, of which one must match.
    for candidate in signatures:
        version, _, given = candidate.partition(",")
        if version == _VERSION and any(hmac.compare_digest(given.encode(), one) for one in wanted):
            return message_id
    raise InvalidSignatureError("no signature matches")
