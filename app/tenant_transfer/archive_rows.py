"""Reads the rows of an archive's files of JSON."""

import json
from collections.abc import Iterator
from typing import Any

from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchiveError


def read_rows(archive: ArchiveReader, table: str) -> Iterator[dict[str, Any]]:
    """Read the rows of a table's files (ArchiveError if a line is not JSON)."""
    for file in archive.manifest.list_table_files(table):
        with archive.open(file) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise ArchiveError(f"{file.path}, line {number}: it is not JSON. Export again") from None
                yield row
