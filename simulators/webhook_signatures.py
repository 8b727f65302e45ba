"""Verifies Standard Webhooks 1.0 as a client would: the signature of what was received, and its age. Pure.

Written from the specification, and not with the sender's code: it is there to check it.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

TOLERANCE_S: Final = 300
"""A message older or newer than this is refused (seconds): somebody may be repeating it."""

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"


class InvalidSignatureError(Exception):
    """The message is not proved to come from the holder of the secret. The text says why."""


def decode_secret(secret: str) -> bytes:
    """The bytes of a secret, which is base64 after `whsec_`.

    Raises:
        ValueError: It is something else.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base64 after whsec_") from error
    if not key:
        raise ValueError("the secret is empty")
    return key


def compute_signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature that belongs to a message, in base64."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def verify_signature(keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """Check a message.

    Args:
        keys: The bytes of the secret; of several while it is being changed, of which any may be right.
        headers: The request's headers; names without regard to case, if the mapping has none.
        body: The body's bytes, as received.
        now_s: The time now, in seconds since 1970.

    Returns:
        The message's id, the same on each repetition.

    Raises:
        NotVerifiedError: A header is missing, the signature is another one, or the time is too far away.
    """
    try:
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
    except KeyError as error:
        raise InvalidSignatureError(f"the header {error.args[0]} is missing") from None
    if not timestamp.isascii() or not timestamp.isdecimal():
        raise InvalidSignatureError("webhook-timestamp is not a number of seconds")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise InvalidSignatureError(f"webhook-timestamp is {now_s - int(timestamp):+.0f} s away")
    wanted = [compute_signature(key, message_id, timestamp, body).encode() for key in keys]
    # While a secret is being changed there are several signatures: one of them has to be right.
    for candidate in signatures:
        version, _, given = candidate.partition(",")
        if version == _VERSION and any(hmac.compare_digest(given.encode(), one) for one in wanted):
            return message_id
    raise InvalidSignatureError("no signature is right")
