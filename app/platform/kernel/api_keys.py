"""API keys: `vg_`, 32 characters of chance (190 bits), 6 of checksum.

The checksum lets a mistyped or invented key be refused without asking the database, and lets secret
scanners recognise a leaked one. Keys are stored as SHA-256: they carry too much chance for a dictionary.
"""

import hashlib
import secrets
import zlib

API_KEY_PREFIX = "vg_"
SESSION_PREFIX = "vgs_"
"""Of what people get when they sign in (`app.people`)."""

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
    """A new key, as it is shown once to its owner; another prefix makes a key of another kind."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{prefix}{body}{_checksum(body)}"


def is_well_formed_key(key: str, prefix: str = API_KEY_PREFIX) -> bool:
    """Tell whether the checksum is right; says nothing of whether the key exists."""
    body = key.removeprefix(prefix)
    if len(key) != len(prefix) + _RANDOM + _CHECK or not key.startswith(prefix) or not body.isascii():
        return False
    return secrets.compare_digest(_checksum(body[:_RANDOM]), body[_RANDOM:])


def hash_key(key: str) -> bytes:
    """What is stored of a key (32 bytes)."""
    return hashlib.sha256(key.encode()).digest()


def make_key_hint(key: str, prefix: str = API_KEY_PREFIX) -> str:
    """The beginning of a key, enough to tell one's keys apart in a list."""
    return key[: len(prefix) + 6]
