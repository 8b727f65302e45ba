"""Collects the encryption keys and files that a restore needs, and writes them after a restore.

The bundle has two parts: encryption keys with the broker's accounts, and the files of
`VIGIE_BACKUP__INCLUDE`. They are rows of the database, so each backup and the WAL carry them. A restore to
any moment finds the keys of that moment. They are sealed for the recovery key: the repository and its
passphrase are not enough to open them.
"""

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from app.backups.backup_repository import BundlePart, StoredBundle
from app.backups.backup_target import BackupError, ProgressSink
from app.backups.recovery_key import RecoveryKeyError, RecoveryPrivateKey
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.platform_settings import PlatformSettings
from app.platform.kernel.atomic_files import replace_file_text

_VERSION: Final = 1
_LIMIT_BYTES: Final = 1024 * 1024
_KEYS_FILE: Final = "encryption-keys"


@dataclass(frozen=True, slots=True)
class RecoveryBundle:
    """The opened bundle.

    Attributes:
        encryption_keys: 32 bytes each, the current one first.
        files: absolute path → content.
    """

    encryption_keys: Sequence[bytes]
    files: dict[str, bytes]

    def encode(self) -> bytes:
        """Return the bundle as bytes; equal content has equal bytes."""
        content = {
            "version": _VERSION,
            "encryption_keys": [base64.b64encode(key).decode() for key in self.encryption_keys],
            "files": {path: base64.b64encode(text).decode() for path, text in sorted(self.files.items())},
        }
        return json.dumps(content, separators=(",", ":")).encode()

    @property
    def digest(self) -> bytes:
        """A hash of the content. It is never stored: the content of a bundle without keys may be guessed."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def open(cls, sealed: bytes, key: RecoveryPrivateKey) -> Self:
        """Open a sealed bundle (RecoveryKeyError)."""
        content = json.loads(key.open(sealed))
        if content.get("version") != _VERSION:
            raise RecoveryKeyError("the bundle was sealed by a newer release of Vigie: use that one")
        return cls(
            [base64.b64decode(each) for each in content["encryption_keys"]],
            {path: base64.b64decode(text) for path, text in content["files"].items()},
        )

    def write(self, folder: Path) -> list[Path]:
        """Write the keys and files into a new folder (0700), below their former paths; returns the new paths.

        Raises:
            OSError: the folder exists, or cannot be written.
        """
        # Another account may have made an existing one, and may change what is in it.
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        written = []
        if self.encryption_keys:
            keys = "".join(f"{base64.b64encode(key).decode()}\n" for key in self.encryption_keys)
            replace_file_text(folder / _KEYS_FILE, keys, mode=0o600)
            written.append(folder / _KEYS_FILE)
        for name, content in self.files.items():
            path = folder / "files" / Path(name).relative_to("/")
            if not path.resolve().is_relative_to(folder.resolve()):
                continue
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)
            written.append(path)
        return written

    def find_file(self, name: str) -> bytes | None:
        """Return the content of the file with this name, whatever its folder."""
        return next((content for path, content in self.files.items() if Path(path).name == name), None)


def open_bundles(
    stored: Mapping[BundlePart, StoredBundle], keys: Sequence[RecoveryPrivateKey], report: ProgressSink
) -> RecoveryBundle:
    """Open the parts that the recovery keys open, and join them; warn of files that stay sealed.

    The parts are sealed at different times, so they may need different keys after the recovery key was
    replaced.

    Raises:
        BackupError: the part with the encryption keys needs another recovery key.
        RecoveryKeyError: a part is damaged.
    """
    by_name = {key.public.name: key for key in keys}
    if "keys" in stored and (needed := stored["keys"].recipient) not in by_name:
        raise BackupError(
            f"the encryption keys are sealed for the recovery key {needed}, and you gave "
            f"{', '.join(by_name)}: give the private part of {needed} with --recovery-key"
        )
    if "files" in stored and (needed := stored["files"].recipient) not in by_name:
        report(
            f"warning: the files of VIGIE_BACKUP__INCLUDE stay sealed, for the recovery key {needed}. To "
            "open them, give its private part too, with a further --recovery-key (`vigie backup unseal`)"
        )
    parts = [
        RecoveryBundle.open(each.content, by_name[each.recipient])
        for each in stored.values()
        if each.recipient in by_name
    ]
    encryption_keys = [each for part in parts for each in part.encryption_keys]
    files = {path: content for part in parts for path, content in part.files.items()}
    return RecoveryBundle(encryption_keys, files)


def collect_keys(settings: PlatformSettings, include: Sequence[Path]) -> tuple[RecoveryBundle, list[str]]:
    """Collect the encryption keys and broker accounts, which `maintain` seals.

    Args:
        settings: the settings of a process with the encryption keys.
        include: further files and folders that the process may read.

    Returns:
        The bundle, and the files that should be in it and could not be read.
    """
    static = settings.broker.static_password_file
    bundle, unreadable = collect_files([*([static] if static else []), *include])
    return RecoveryBundle(_read_keys(settings.encryption, unreadable), bundle.files), unreadable


def collect_files(include: Sequence[Path]) -> tuple[RecoveryBundle, list[str]]:
    """Collect files and folders, without keys; the result is that of `collect_keys`."""
    files: dict[str, bytes] = {}
    unreadable: list[str] = []
    size = 0
    for path in _list_files(include, unreadable):
        try:
            content = path.read_bytes()
        except OSError as error:
            unreadable.append(f"{path}: {error.strerror}")
            continue
        size += len(content)
        if size > _LIMIT_BYTES:
            unreadable.append(f"{path}: the bundle would exceed {_LIMIT_BYTES // 1024} KiB")
            break
        files[str(path)] = content
    return RecoveryBundle([], files), unreadable


def _read_keys(settings: EncryptionSettings, unreadable: list[str]) -> list[bytes]:
    try:
        return settings.key_bytes()
    except ValueError as error:
        unreadable.append(str(error))
        return []


def _list_files(paths: Sequence[Path], unreadable: list[str]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for path in paths:
        absolute = path.absolute()
        try:
            is_folder = stat.S_ISDIR(absolute.stat().st_mode)
        except OSError as error:
            note(error)
            continue
        if not is_folder:
            yield absolute
            continue
        # Not `rglob`, which skips folders that may not be read.
        for folder, _, names in os.walk(absolute, onerror=note):
            yield from (found for name in sorted(names) if (found := Path(folder, name)).is_file())
