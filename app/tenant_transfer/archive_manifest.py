"""Defines the manifest of an archive: version, files with checksums, and omissions with reasons. Pure."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

FORMAT: Final = "vigie-tenant-archive"
FORMAT_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"
AUDIT_LOG_NAME: Final = "audit/log.ndjson"


class ArchiveError(Exception):
    """An archive cannot be written, read or imported. The text says why, and what to do."""


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an archive.

    Attributes:
        path: its path in the archive.
        table: the table whose rows it has; None: documentation, or the audit log.
        rows: its lines or rows; None for documentation.
        bytes: its size, uncompressed.
        sha256: of its content, uncompressed, as hexadecimal digits.
        columns: the columns of its rows.
        imported: whether an import reads it.
    """

    path: str
    bytes: int
    sha256: str
    table: str | None = None
    rows: int | None = None
    columns: tuple[str, ...] = ()
    imported: bool = False


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A table, or a column of one, that is not in the archive, with the reason."""

    table: str
    column: str | None = None
    reason: str


class ArchivedOrganisation(msgspec.Struct, frozen=True, kw_only=True):
    """The organisation of an archive."""

    id: UUID
    name: str


class ArchivedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The last entry of a file of the audit log."""

    path: str
    organisation_id: UUID
    position: int
    hash: str


class ArchiveManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of an archive.

    Attributes:
        format: `FORMAT`.
        format_version: the version of the archive's layout.
        archive_id: identifies this export.
        exported_at: the time of the snapshot: later changes are not in the archive.
        software: name, version and commit of the program that wrote it.
        schema_revision: the revision of the database's schema.
        organisation: the exported organisation.
        late_bits: the metrics of the bits of `late` in samples, from the lowest.
        audit_heads: where each file of the audit log ends.
        files: all files but the manifest.
        left_out: tables and columns that are not in the archive.
    """

    format: str
    format_version: int
    archive_id: UUID
    exported_at: datetime
    software: str
    schema_revision: str
    organisation: ArchivedOrganisation
    late_bits: tuple[str, ...]
    audit_heads: tuple[ArchivedHead, ...]
    files: tuple[ArchivedFile, ...]
    left_out: tuple[LeftOut, ...]

    def list_table_files(self, table: str) -> list[ArchivedFile]:
        """Return the files of a table, in the order of their parts."""
        return [file for file in self.files if file.table == table]

    def count_rows(self, table: str) -> int:
        """Return the number of rows of a table."""
        return sum(file.rows or 0 for file in self.list_table_files(table))


def encode_manifest(manifest: ArchiveManifest) -> bytes:
    """Encode a manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(content: bytes) -> ArchiveManifest:
    """Decode a manifest.

    Raises:
        ArchiveError: It is not one, or a newer program wrote it.
    """
    try:
        manifest = msgspec.json.decode(content, type=ArchiveManifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(
            f"{MANIFEST_NAME} is not the manifest of a tenant's archive ({error}). Name the file or the "
            "folder that `vigie tenant export` wrote"
        ) from None
    if (manifest.format, manifest.format_version) != (FORMAT, FORMAT_VERSION):
        raise ArchiveError(
            f"the archive has the format {manifest.format} {manifest.format_version}, and this program reads "
            f"{FORMAT} {FORMAT_VERSION}. Upgrade Vigie"
        )
    paths = [file.path for file in manifest.files]
    if len(set(paths)) < len(paths):
        raise ArchiveError(f"{MANIFEST_NAME} names a file twice. Export again")
    return manifest
