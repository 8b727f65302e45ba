"""Verifies an archive without a database: files, checksums, counts of rows, chains of the audit log."""

from collections.abc import Callable, Iterator
from typing import IO, Final

from app.audit.hash_chain import ChainVerifier
from app.audit.log_export import verify_export
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchivedFile, ArchiveError
from app.tenant_transfer.parquet_files import count_parquet_rows

_SHOWN: Final = 20
_CHUNK_BYTES: Final = 1 << 20


def verify_archive(archive: ArchiveReader, report: Callable[[str], None]) -> None:
    """Verify files, checksums, row counts and audit logs of an archive.

    Args:
        archive: the archive.
        report: prints a line for each file above 1 MiB.

    Raises:
        ArchiveError: It was changed or is incomplete; the text lists what is wrong.
    """
    found: list[str] = []
    for file in archive.manifest.files:
        found.extend(_verify_file(archive, file))
        if file.bytes > _CHUNK_BYTES:
            report(f"{file.path}: verified")
    paths = {file.path for file in archive.manifest.files}
    found.extend(
        f"{head.path}: the manifest has its head, and not the file"
        for head in archive.manifest.audit_heads
        if head.path not in paths
    )
    if found:
        more = "" if len(found) <= _SHOWN else f" (and {len(found) - _SHOWN} more)"
        listed = "\n  ".join(found[:_SHOWN])
        raise ArchiveError(f"the archive is not as it was exported. Export again:\n  {listed}{more}")


def _verify_file(archive: ArchiveReader, file: ArchivedFile) -> Iterator[str]:
    try:
        if not archive.is_intact(file):
            yield f"{file.path}: size or checksum differ from the manifest"
            return
        if file.path.startswith("audit/"):
            yield from _verify_log(archive, file)
        elif file.path.endswith(".parquet"):
            with archive.open_seekable(file) as opened:
                rows = count_parquet_rows(opened)
            if rows != file.rows:
                yield f"{file.path}: it has {rows} rows, and the manifest says {file.rows}"
        elif file.rows is not None:
            with archive.open(file) as opened:
                rows = _count_lines(opened)
            if rows != file.rows:
                yield f"{file.path}: it has {rows} lines, and the manifest says {file.rows}"
    except ArchiveError as error:
        yield str(error)


def _count_lines(opened: IO[bytes]) -> int:
    lines = 0
    while chunk := opened.read(_CHUNK_BYTES):
        lines += chunk.count(b"\n")
    return lines


def _verify_log(archive: ArchiveReader, file: ArchivedFile) -> Iterator[str]:
    verifier = ChainVerifier(partial=True)
    with archive.open(file) as opened:
        for finding in verify_export((line.decode() for line in opened), verifier):
            yield f"{file.path}: {finding.code} at position {finding.position}: {finding.detail}"
    known = {
        (head.organisation_id, head.position, head.hash)
        for head in archive.manifest.audit_heads
        if head.path == file.path
    }
    if verifier.entries != file.rows:
        yield f"{file.path}: it has {verifier.entries} entries, and the manifest says {file.rows}"
    if known != {(head.organisation_id, head.position, head.hash.hex()) for head in verifier.heads}:
        yield f"{file.path}: its last entry is not the head in the manifest"
