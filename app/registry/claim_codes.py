"""Claim codes: short enough to be read out at the foot of a lamp post. Pure: no database, no clock.

Eleven characters of chance (54 bits) and one that checks them, in groups of four: `7Q4F-K9MX-2HTC`. The 31
characters leave out those that are taken for others (0 and O, 1, I and L). Their number is a prime, so the
check notices every single wrong character and every two that changed places.

What is stored of a code is slow to compute (a few milliseconds): from a stolen table a code cannot be found
before it has expired.
"""

import hashlib
import secrets
from typing import Final

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
LENGTH: Final = 12
_GROUP: Final = 4
_SHOWN: Final = 2
_ROUNDS: Final = 10_000
_SALT: Final = b"vigie claim code"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def _check(body: str) -> str:
    return ALPHABET[sum(weight * _VALUES[c] for weight, c in enumerate(body, 1)) % len(ALPHABET)]


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, LENGTH, _GROUP))


def generate_code() -> str:
    """A new code, as it is shown once."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))
    return _grouped(body + _check(body))


def parse_code(text: str) -> str | None:
    """The code that somebody typed, whatever its case, spaces and hyphens; None where it cannot be one."""
    code = "".join(text.split()).replace("-", "").upper()
    if len(code) != LENGTH or any(character not in _VALUES for character in code):
        return None
    return _grouped(code) if _check(code[:-1]) == code[-1] else None


def hash_code(code: str) -> bytes:
    """What is stored of a code as `generate_code` and `parse_code` give it (32 bytes)."""
    return hashlib.pbkdf2_hmac("sha256", code.encode(), _SALT, _ROUNDS)


def get_code_hint(code: str) -> str:
    """The beginning of a code, enough to tell one's codes apart in a list."""
    return code[:_SHOWN]
