"""Secrets as the database may hold them: sealed with a key that is kept elsewhere.

Owns the form `sealed:1:<key's name>:<base64>`: AES-256-GCM (NIST SP 800-38D) with a nonce of chance, bound to
a context, so that what was sealed for one row opens in no other. Must not know what is sealed.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.core.encryption_settings import KEY_BYTES, EncryptionSettings
from app.core.errors import UnavailableError

PREFIX: Final = "sealed:1:"
_NONCE_BYTES: Final = 12
_NAME_LENGTH: Final = 8
_NO_KEY: Final = (
    "This installation has no key to keep secrets under. Its operator has to set VIGIE_ENCRYPTION__KEYS (or "
    "VIGIE_ENCRYPTION__KEYS_FILE): 32 random bytes in base64, for the roles api, deliver and maintain."
)


class SealError(Exception):
    """Something cannot be sealed or opened; the text says which key is missing, and shows no secret."""


class Sealer:
    """Seals with its first key, opens with all of them.

    Args:
        keys: 32 bytes each; none: nothing can be sealed, nor opened.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"an encryption key has {KEY_BYTES} bytes, in base64")
        self._keys = {key_name(key): AESGCM(key) for key in keys}
        self._first = key_name(keys[0]) if keys else None

    @classmethod
    def of(cls, settings: EncryptionSettings) -> Self:
        """The one that settings speak of.

        Raises:
            SealError: The file of keys cannot be read any more; what else is wrong, the settings refuse.
        """
        try:
            return cls(settings.key_bytes())
        except ValueError as error:
            raise SealError(str(error)) from None

    @property
    def ready(self) -> bool:
        """Whether there is a key to seal with."""
        return self._first is not None

    @property
    def current(self) -> str | None:
        """The beginning of all that is sealed with the first key."""
        return None if self._first is None else f"{PREFIX}{self._first}:"

    def seal(self, text: str, context: str) -> str:
        """Seal a text.

        Args:
            text: What nobody is to read.
            context: What it belongs to; the same has to be given to open it.

        Raises:
            SealError: There is no key.
        """
        if self._first is None:
            raise SealError("no encryption key is set (VIGIE_ENCRYPTION__KEYS)")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, text.encode(), context.encode())
        return f"{PREFIX}{self._first}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, context: str) -> str:
        """Open what `seal` gave.

        Raises:
            SealError: It was sealed with a key that is not here, for another context, or is damaged.
        """
        name, _, text = sealed.removeprefix(PREFIX).partition(":")
        if not is_sealed(sealed) or not text:
            raise SealError("it is not sealed")
        cipher = self._keys.get(name)
        if cipher is None:
            raise SealError(f"it is sealed with the key {name}, which is not among VIGIE_ENCRYPTION__KEYS")
        try:
            raw = base64.b64decode(text, validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SealError("it is damaged, or was sealed for something else") from None


def require_key(sealer: Sealer) -> None:
    """Refuse what would have to be sealed where there is no key (UnavailableError)."""
    if not sealer.ready:
        raise UnavailableError(_NO_KEY, code="encryption_key_missing")


def is_sealed(text: str) -> bool:
    """Whether a text is one that `Sealer.seal` gave."""
    return text.startswith(PREFIX)


def generate_encryption_key() -> str:
    """A new key, in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def key_name(key: bytes) -> str:
    """What a key is called in what it sealed: the beginning of its hash."""
    return hashlib.sha256(key).hexdigest()[:_NAME_LENGTH]
