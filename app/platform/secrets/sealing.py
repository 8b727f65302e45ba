"""Encrypts secrets for storage in the database, with keys from outside of it.

The form is `sealed:1:<key's name>:<base64>`: AES-256-GCM (NIST SP 800-38D) with a random nonce. Each value is
bound to a context, so that one row's value cannot be decrypted in another row. `sealed_columns` lists the
columns.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.platform.config.encryption_settings import KEY_BYTES, EncryptionKeyFile, EncryptionSettings
from app.platform.kernel.errors import UnavailableError
from app.platform.observability.metrics_and_logs import get_logger

SEALED_PREFIX: Final = "sealed:1:"
_NONCE_BYTES: Final = 12
_NAME_LENGTH: Final = 8
_log = get_logger(__name__)
_NO_KEY: Final = (
    "This installation has no key to encrypt secrets. Its operator has to set VIGIE_ENCRYPTION__KEYS (or "
    "VIGIE_ENCRYPTION__KEYS_FILE): 32 random bytes in base64, for the processes api, deliver and maintain."
)


UNKNOWN_KEY: Final = "is not among VIGIE_ENCRYPTION__KEYS"
"""The end of the text of a `SealingError` for a value whose key this process does not have."""


class SealingError(Exception):
    """A value cannot be encrypted or decrypted. The text names the missing key, and no secret."""


class SecretSealer:
    """Encrypts with its first key, decrypts with all of them.

    Where the keys are in a file, it follows that file: a new first key applies immediately.

    Args:
        keys: 32 bytes each; with none, it can neither encrypt nor decrypt.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._file: EncryptionKeyFile | None = None
        self._take(keys)

    @classmethod
    def of(cls, settings: EncryptionSettings) -> Self:
        """Make one from the settings.

        Raises:
            SealingError: The file of keys can no longer be read. The settings refuse all other faults.
        """
        # Before the keys are read, so that a change in between is noticed.
        file = None if settings.keys or settings.keys_file is None else EncryptionKeyFile(settings.keys_file)
        try:
            sealer = cls(settings.key_bytes())
        except ValueError as error:
            raise SealingError(str(error)) from None
        sealer._file = file
        return sealer

    @property
    def ready(self) -> bool:
        """Whether there is a key to encrypt with."""
        return self.current is not None

    @property
    def current(self) -> str | None:
        """The prefix of values that are encrypted with the first key."""
        self._follow()
        return None if self._first is None else f"{SEALED_PREFIX}{self._first}:"

    @property
    def names(self) -> list[str]:
        """The names of its keys, the first one first."""
        self._follow()
        return list(self._keys)

    def _take(self, keys: Sequence[bytes]) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise SealingError(f"an encryption key has {KEY_BYTES} bytes, in base64")
        self._keys = {derive_key_name(key): AESGCM(key) for key in keys}
        self._first = derive_key_name(keys[0]) if keys else None
        self._hashes_with = [hmac.digest(key, b"fingerprint", "sha256") for key in keys]

    def _follow(self) -> None:
        """Take the keys of the file where it changed; while it cannot be read, the previous ones stay."""
        if self._file is None:
            return
        try:
            keys = self._file.changed()
        except ValueError as error:
            _log.warning("encryption_keys_not_read", error=str(error))
            return
        if keys is not None:
            self._take(keys)
            _log.info("encryption_keys_changed", seals_with=self._first, keys=len(self._keys))

    def fingerprints(self, data: bytes) -> list[bytes]:
        """Return keyed hashes of data, one for each key, the first one first; 32 bytes each.

        Equal data have equal hashes. The database alone does not suffice to guess hashed data, not even a
        password.
        """
        self._follow()
        return [hmac.digest(key, data, "sha256") for key in self._hashes_with]

    def seal(self, text: str, context: str) -> str:
        """Encrypt a text.

        Args:
            text: The secret.
            context: What it belongs to; decryption needs the same context.

        Raises:
            SealingError: There is no key.
        """
        self._follow()
        if self._first is None:
            raise SealingError("no encryption key is set (VIGIE_ENCRYPTION__KEYS)")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, text.encode(), context.encode())
        return f"{SEALED_PREFIX}{self._first}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, context: str) -> str:
        """Decrypt the result of `seal`.

        Raises:
            SealingError: The key is missing, the context differs, or the value is damaged.
        """
        name, _, text = sealed.removeprefix(SEALED_PREFIX).partition(":")
        if not is_sealed(sealed) or not text:
            raise SealingError("it is not sealed")
        if name not in self._keys:
            # Another process may have used a key that is newer than our last check.
            self._follow()
        cipher = self._keys.get(name)
        if cipher is None:
            raise SealingError(f"it is sealed with the key {name}, which {UNKNOWN_KEY}")
        try:
            raw = base64.b64decode(text, validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SealingError("it is damaged, or was sealed for something else") from None


def require_encryption_key(sealer: SecretSealer) -> None:
    """Refuse a request that has to encrypt where there is no key (UnavailableError)."""
    if not sealer.ready:
        raise UnavailableError(_NO_KEY, code="encryption_key_missing")


def is_sealed(text: str) -> bool:
    """Return whether a text is the result of `SecretSealer.seal`."""
    return text.startswith(SEALED_PREFIX)


def generate_encryption_key() -> str:
    """Return a new random key, in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def derive_key_name(key: bytes) -> str:
    """Return the name of a key in values: the beginning of its hash."""
    return hashlib.sha256(key).hexdigest()[:_NAME_LENGTH]
