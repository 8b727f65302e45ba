"""What the tests do with archives: make, read, compare."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from app.platform.secrets.sealing import SecretSealer
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchiveManifest
from app.tenant_transfer.archive_verification import verify_archive
from app.tenant_transfer.tenant_export import export_tenant
from app.tenant_transfer.tenant_import import ImportedTenant, ImportOptions, import_tenant

SEALER = SecretSealer([bytes(32)])


async def export_to(url: str, organisation: UUID, target: Path) -> ArchiveManifest:
    """Export, as the owner of the tables."""
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        return await export_tenant(connection, organisation, target, lambda _: None)
    finally:
        await connection.close()


async def import_from(
    url: str, source: Path, credentials: Path, options: ImportOptions | None = None
) -> ImportedTenant:
    """Verify and import, as the owner of the tables."""
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        with closing(ArchiveReader(source)) as archive:
            verify_archive(archive, lambda _: None)
            return await import_tenant(
                connection,
                archive,
                options or ImportOptions(),
                sealer=SEALER,
                credentials=credentials,
                report=lambda _: None,
            )
    finally:
        await connection.close()


def read_files(source: Path) -> dict[str, bytes]:
    """The content of each file but the manifest."""
    with closing(ArchiveReader(source)) as archive:
        found = {}
        for file in archive.manifest.files:
            with archive.open(file) as opened:
                found[file.path] = opened.read()
        return found


def read_lines(content: bytes) -> list[dict[str, Any]]:
    """The rows of a file of JSON."""
    return [json.loads(line) for line in content.splitlines()]
