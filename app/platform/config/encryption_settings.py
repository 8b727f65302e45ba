"""The keys that secrets are sealed with, as settings name them: by value, or in a file.

Owns how they are read and checked; errors show no key. Must not seal anything (`sealing`).
"""

import base64
import binascii
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

KEY_BYTES: Final = 32


class EncryptionSettings(BaseModel):
    """Keys that clients' secrets are sealed with in the database. They must be kept outside of it."""

    keys: list[SecretStr] = Field(
        [],
        description="32 random bytes each, in base64. The first one seals, all of them open: to replace a "
        "key put the new one before it, and take the old one away once nothing is sealed with it any more",
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
        """The keys, the first one first; empty where there is none.

        Raises:
            ValueError: `keys_file` cannot be read by now, or holds something else.
        """
        if self.keys or self.keys_file is None:
            return [parse_encryption_key(key.get_secret_value()) for key in self.keys]
        return _keys_in(self.keys_file)


class EncryptionKeyFile:
    """A file of keys that is read again when it was replaced or changed.

    Args:
        path: it was read just now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._look()

    def changed(self) -> list[bytes] | None:
        """The keys, where the file is another one than at the last look; else None.

        Raises:
            ValueError: It is another one, and is gone or holds something else; told once.
        """
        now = self._look()
        if now == self._seen:
            return None
        self._seen = now
        return _keys_in(self._path)

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def parse_encryption_key(text: str) -> bytes:
    """The key that a text stands for (ValueError; it does not show the text)."""
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
