"""Makes recovery keys, and seals data for them: HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM.

Pure. The public part seals data. Only the private part opens them: it belongs on paper or in a vault, not on
the machine.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

PUBLIC_PREFIX: Final = "vgrp_"
PRIVATE_PREFIX: Final = "vgrs_"
_KEY_BYTES: Final = 32
_CHECK_BYTES: Final = 4
_NAME_LENGTH: Final = 8
_INFO: Final = b"vigie recovery bundle 1"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class RecoveryKeyError(ValueError):
    """A recovery key is not well-formed, or does not open the data. The text shows no key."""


def _format(prefix: str, key: bytes) -> str:
    check = hashlib.sha256(key).digest()[:_CHECK_BYTES]
    return prefix + base64.urlsafe_b64encode(key + check).rstrip(b"=").decode()


def _parse(prefix: str, text: str, part: str) -> bytes:
    encoded = text.strip().removeprefix(prefix)
    if encoded == text.strip():
        raise RecoveryKeyError(f"the {part} part of a recovery key begins with {prefix}")
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raw = b""
    key, check = raw[:_KEY_BYTES], raw[_KEY_BYTES:]
    if len(raw) != _KEY_BYTES + _CHECK_BYTES or hashlib.sha256(key).digest()[:_CHECK_BYTES] != check:
        raise RecoveryKeyError(
            f"the {part} part of the recovery key has a typing error: its checksum is wrong"
        )
    return key


@dataclass(frozen=True, slots=True)
class RecoveryPublicKey:
    """The part of a recovery key that seals."""

    key: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form (RecoveryKeyError)."""
        return cls(_parse(PUBLIC_PREFIX, text, "public"))

    def __str__(self) -> str:
        return _format(PUBLIC_PREFIX, self.key)

    @property
    def name(self) -> str:
        """The beginning of the key's hash, which distinguishes keys."""
        return hashlib.sha256(self.key).hexdigest()[:_NAME_LENGTH]

    def seal(self, data: bytes) -> bytes:
        """Encrypt data so that only the private part decrypts it."""
        return _SUITE.encrypt(data, X25519PublicKey.from_public_bytes(self.key), info=_INFO)


@dataclass(frozen=True, slots=True)
class RecoveryPrivateKey:
    """The part of a recovery key that opens."""

    key: bytes

    @classmethod
    def generate(cls) -> Self:
        """Generate a new key."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form (RecoveryKeyError)."""
        return cls(_parse(PRIVATE_PREFIX, text, "private"))

    def reveal(self) -> str:
        """Return the text form, which is a secret."""
        return _format(PRIVATE_PREFIX, self.key)

    def __repr__(self) -> str:
        return f"RecoveryPrivateKey({self.public.name})"

    @property
    def public(self) -> RecoveryPublicKey:
        """Its public part."""
        return RecoveryPublicKey(
            X25519PrivateKey.from_private_bytes(self.key).public_key().public_bytes_raw()
        )

    def open(self, sealed: bytes) -> bytes:
        """Decrypt data that the public part sealed.

        Raises:
            RecoveryKeyError: The data were sealed for another key, or are damaged.
        """
        try:
            return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(self.key), info=_INFO)
        except (InvalidTag, ValueError):
            raise RecoveryKeyError(
                f"the recovery key {self.public.name} does not open it: it was sealed for another key, "
                "or is damaged"
            ) from None
