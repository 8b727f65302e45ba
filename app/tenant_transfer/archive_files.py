"""Writes and reads the files of an archive: a folder, or a ZIP file.

A new archive is written beside its final name, and renamed when it is complete. An archive with its final
name is therefore whole.
"""

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol, Self

from app.tenant_transfer.archive_manifest import (
    MANIFEST_NAME,
    ArchivedFile,
    ArchiveError,
    ArchiveManifest,
    decode_manifest,
)

PARTIAL_SUFFIX: Final = ".partial"
_CHUNK_BYTES: Final = 1 << 20
# A few hundred bytes for each million samples; a ZIP file can hold gigabytes of zeros in a few kilobytes.
_MOST_MANIFEST_BYTES: Final = 64 << 20
_STORED: Final = (".parquet",)
# Of a ZIP file: bytes that were changed or cut off, an encrypted file, an unknown compression.
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class FileSink(io.RawIOBase):
    """Writes a file from beginning to end, and computes its size and checksum.

    Args:
        file: receives the bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The checksum of what was written, as hexadecimal digits."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # (any buffer)
        """Write bytes."""
        with memoryview(data) as view:
            self._hash.update(view)
            self._file.write(view)
            self.size += view.nbytes
            return view.nbytes

    def tell(self) -> int:
        """Return how much was written."""
        return self.size


class ArchiveWriter:
    """Writes the files of an archive in sequence.

    Attributes:
        files: the files that were written.

    Args:
        target: the final name; it ends with `.zip`, or is a folder.

    Raises:
        ArchiveError: The target exists.
    """

    def __init__(self, target: Path) -> None:
        if target.exists():
            raise ArchiveError(f"{target} exists. Name another file, or remove it")
        self._target = target
        self._partial = target.with_name(target.name + PARTIAL_SUFFIX)
        self._zip: zipfile.ZipFile | None = None
        self.files: list[ArchivedFile] = []

    def __enter__(self) -> Self:
        # An interrupted export leaves a partial archive.
        self._remove_partial()
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        if self._target.suffix == ".zip":
            descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._zip = zipfile.ZipFile(os.fdopen(descriptor, "w+b"), "w", allowZip64=True)
        else:
            self._partial.mkdir(mode=0o700)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._zip is not None:
            stream = self._zip.fp
            if kind is None:
                self._zip.close()
                _sync(stream)
            else:
                # `close` would write the ZIP directory of a file that is removed.
                self._zip.fp = None
            if stream is not None:
                stream.close()
        if kind is None:
            self._partial.rename(self._target)
        else:
            self._remove_partial()

    def _remove_partial(self) -> None:
        if self._partial.is_dir():
            shutil.rmtree(self._partial)
        else:
            self._partial.unlink(missing_ok=True)

    @contextmanager
    def create(self, path: str) -> Iterator[FileSink]:
        """Open the next file for the duration of the block. Add it to `files` afterwards (`add`)."""
        if self._zip is not None:
            info = zipfile.ZipInfo(path)
            info.compress_type = zipfile.ZIP_STORED if path.endswith(_STORED) else zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            with self._zip.open(info, "w", force_zip64=True) as file:
                yield FileSink(file)
            return
        place = self._partial / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            yield FileSink(file)
            _sync(file)

    def add(
        self,
        path: str,
        sink: FileSink,
        *,
        table: str | None = None,
        rows: int | None = None,
        columns: tuple[str, ...] = (),
        imported: bool = False,
    ) -> None:
        """List a file that was written."""
        self.files.append(
            ArchivedFile(
                path=path,
                bytes=sink.size,
                sha256=sink.sha256,
                table=table,
                rows=rows,
                columns=columns,
                imported=imported,
            )
        )

    def write(self, path: str, content: bytes) -> None:
        """Write a short file of documentation, and list it."""
        with self.create(path) as sink:
            sink.write(content)
        self.add(path, sink)

    def write_manifest(self, manifest: bytes) -> None:
        """Write the manifest, which is the last file."""
        with self.create(MANIFEST_NAME) as sink:
            sink.write(manifest)


class _Container(Protocol):
    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading (KeyError or OSError if it is missing)."""


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: str) -> IO[bytes]:
        if not (self._root / path).resolve().is_relative_to(self._root.resolve()):
            raise KeyError(path)
        return (self._root / path).open("rb")


class ArchiveReader:
    """Reads an archive. It never writes to paths that the manifest names.

    Attributes:
        manifest: the list of its files.

    Args:
        source: the ZIP file or folder.

    Raises:
        ArchiveError: It is not an archive.
    """

    def __init__(self, source: Path) -> None:
        self._zip: zipfile.ZipFile | None = None
        self._container: _Container
        try:
            if source.is_dir():
                self._container = _Folder(source)
            else:
                self._container = self._zip = zipfile.ZipFile(source)
            with self._container.open(MANIFEST_NAME) as file:
                content = file.read(_MOST_MANIFEST_BYTES + 1)
            if len(content) > _MOST_MANIFEST_BYTES:
                raise ArchiveError(
                    f"{source} is not an archive of a tenant: its {MANIFEST_NAME} is too large"
                )
            self.manifest: ArchiveManifest = decode_manifest(content)
        except (OSError, KeyError, *_DAMAGED) as error:
            self.close()
            reason = getattr(error, "strerror", None) or f"there is no {MANIFEST_NAME} in it"
            raise ArchiveError(f"{source} is not an archive of a tenant: {reason}") from None

    def close(self) -> None:
        """Close the file."""
        if self._zip is not None:
            self._zip.close()

    @contextmanager
    def open(self, file: ArchivedFile) -> Iterator[IO[bytes]]:
        """Open a file for the duration of the block (ArchiveError if it is missing)."""
        try:
            opened = self._container.open(file.path)
        except (OSError, KeyError):
            raise ArchiveError(f"{file.path} is missing in the archive. Export again") from None
        with opened:
            yield opened

    @contextmanager
    def open_seekable(self, file: ArchivedFile) -> Iterator[IO[bytes]]:
        """Open a file in which the reader may move: from a ZIP file, a copy without a name."""
        with self.open(file) as opened:
            if self._zip is None:
                yield opened
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(opened, copy, _CHUNK_BYTES)
                copy.seek(0)
                yield copy

    def is_intact(self, file: ArchivedFile) -> bool:
        """Return whether a file has the size and the checksum of the manifest."""
        found = hashlib.sha256()
        size = 0
        try:
            with self.open(file) as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    found.update(chunk)
                    size += len(chunk)
        except _DAMAGED:
            return False
        return (size, found.hexdigest()) == (file.bytes, file.sha256)


def _sync(file: IO[bytes] | None) -> None:
    if file is not None:
        file.flush()
        os.fsync(file.fileno())
