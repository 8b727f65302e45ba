"""Generates API keys and other secret tokens, checks their form and hashes them for storage.

Tokens of sessions, invitations and password resets have other prefixes. A key is `vg_`, 32 random characters
(190 bits) and a checksum of 6 characters. The checksum rejects a mistyped or invented key without a database
query, and lets secret scanners recognise a leaked key. Keys are stored as SHA-256: they have too much entropy
for a dictionary attack.
"""

import hashlib
import secrets
import zlib

API_KEY_PREFIX = "vg_"
SESSION_PREFIX = "vgs_"
"""Prefix of session tokens, which people get when they sign in (`app.people`)."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 32
_CHECK = 6


def _checksum(body: str) -> str:
    rest = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECK):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def generate_key(prefix: str = API_KEY_PREFIX) -> str:
    """Return a new random key. It is shown once to its owner; `prefix` says which kind of key it is."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{prefix}{body}{_checksum(body)}"


def is_well_formed_key(key: str, prefix: str = API_KEY_PREFIX) -> bool:
    """Return whether the checksum is valid. It does not say whether the key exists."""
    body = key.removeprefix(prefix)
    if len(key) != len(prefix) + _RANDOM + _CHECK or not key.startswith(prefix) or not body.isascii():
        return False
    return secrets.compare_digest(_checksum(body[:_RANDOM]), body[_RANDOM:])


def hash_key(key: str) -> bytes:
    """Return the SHA-256 hash (32 bytes) that is stored for a key."""
    return hashlib.sha256(key.encode()).digest()


def make_key_hint(key: str, prefix: str = API_KEY_PREFIX) -> str:
    """Return the beginning of a key, so that its owner can recognise it in a list."""
    return key[: len(prefix) + 6]
