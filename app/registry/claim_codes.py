"""Generates, parses and hashes claim codes, such as `7Q4F-K9MX-2HTC`. Pure: no database, no clock.

A code is short enough to be read aloud on site: eleven random characters (54 bits) and a check character, in
groups of four. The alphabet of 31 characters leaves out those that people confuse (0 and O; 1, I and L). 31
is a prime, so the check character detects every wrong character and every transposition of two.

The hash is slow (a few milliseconds), so that a code cannot be found from a stolen table before it expires.
"""

import hashlib
import secrets
from typing import Final

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
LENGTH: Final = 12
_GROUP: Final = 4
_HINT_LENGTH: Final = 2
_ITERATIONS: Final = 10_000
_SALT: Final = b"vigie claim code"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def _compute_check_character(body: str) -> str:
    return ALPHABET[sum(weight * _VALUES[c] for weight, c in enumerate(body, 1)) % len(ALPHABET)]


def _group(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, LENGTH, _GROUP))


def generate_code() -> str:
    """Generate a claim code."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))
    return _group(body + _compute_check_character(body))


def parse_code(text: str) -> str | None:
    """Normalise a typed code: case, spaces and hyphens do not matter. None if it cannot be a code."""
    code = "".join(text.split()).replace("-", "").upper()
    if len(code) != LENGTH or any(character not in _VALUES for character in code):
        return None
    return _group(code) if _compute_check_character(code[:-1]) == code[-1] else None


def hash_code(code: str) -> bytes:
    """Hash a code as `generate_code` and `parse_code` return it (PBKDF2, 32 bytes)."""
    return hashlib.pbkdf2_hmac("sha256", code.encode(), _SALT, _ITERATIONS)


def get_code_hint(code: str) -> str:
    """Get the beginning of a code, by which people recognise it in a list."""
    return code[:_HINT_LENGTH]
