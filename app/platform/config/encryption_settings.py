"""Reads and checks the encryption keys of the installation, from settings or from a file.

Errors show no key.
"""

import base64
import binascii
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

KEY_BYTES: Final = 32


class EncryptionSettings(BaseModel):
    """Keys that encrypt clients' secrets in the database. Store them outside of it."""

    keys: list[SecretStr] = Field(
        [],
        description="32 random bytes each, in base64. The first one encrypts, all of them decrypt. To "
        "replace a key, put the new one before it, and remove the old one once no value is encrypted with it",
    )
    keys_file: Path | None = Field(None, description="The same, one a line; read where `keys` is empty")

    @field_validator("keys")
    @classmethod
    def _whole(cls, value: list[SecretStr]) -> list[SecretStr]:
        for key in value:
            parse_encryption_key(key.get_secret_value())
        return value

    @field_validator("keys_file")
    @classmethod
    def _readable(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and not info.data.get("keys"):
            _keys_in(value)
        return value

    def key_bytes(self) -> list[bytes]:
        """Return the keys, the first one first; empty where there is none.

        Raises:
            ValueError: `keys_file` can no longer be read, or contains something else.
        """
        if self.keys or self.keys_file is None:
            return [parse_encryption_key(key.get_secret_value()) for key in self.keys]
        return _keys_in(self.keys_file)


class EncryptionKeyFile:
    """A file of keys that is read again after it changed.

    Args:
        path: the file, which was just read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stat()

    def changed(self) -> list[bytes] | None:
        """Return the keys if the file changed since the last call, else None.

        Raises:
            ValueError: The file changed, and is gone or contains something else. Raised once for each change.
        """
        now = self._stat()
        if now == self._seen:
            return None
        self._seen = now
        return _keys_in(self._path)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def parse_encryption_key(text: str) -> bytes:
    """Decode a key from base64 (ValueError, which does not show the text)."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key must be {KEY_BYTES} bytes in base64: openssl rand -base64 32")
    return key


def _keys_in(path: Path) -> list[bytes]:
    try:
        texts = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from None
    if not texts:
        raise ValueError(f"{path} holds no key")
    return [parse_encryption_key(text) for text in texts]
