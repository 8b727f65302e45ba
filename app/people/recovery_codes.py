"""Generates and hashes recovery codes, which replace a lost second factor once. Pure.

A code has 120 random bits, so a plain SHA-256 hash protects it (NIST SP 800-63B, 3.1.2.2).
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

RECOVERY_CODE_COUNT: Final = 10
# Without i, l, o and u, which are easily mistaken for others (Crockford's base32).
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUPS: Final = 4
_GROUP_LENGTH: Final = 6
_MISREAD: Final = str.maketrans({"i": "1", "l": "1", "o": "0"})


def generate_recovery_codes() -> list[str]:
    """Generate new codes, such as `7k3m9q-t2vwa4-0bxd8e-h5n6rs`."""
    return ["-".join(_generate_group() for _ in range(_GROUPS)) for _ in range(RECOVERY_CODE_COUNT)]


def _generate_group() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH))


def hash_recovery_code(code: str) -> bytes:
    """Hash a code. Case, hyphens and spaces do not matter, nor do letters that look like digits."""
    normal = "".join(code.lower().split()).replace("-", "").translate(_MISREAD)
    return hashlib.sha256(normal.encode()).digest()


def remove_recovery_code(hashes: Sequence[bytes], code: str) -> list[bytes] | None:
    """Return the hashes without that of a code; None if the code is not among them."""
    used = hash_recovery_code(code)
    left = [each for each in hashes if not secrets.compare_digest(each, used)]
    return left if len(left) < len(hashes) else None
