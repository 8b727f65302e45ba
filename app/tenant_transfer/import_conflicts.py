"""Decides whether an archive may be imported: schema, organisation, integrator, and what exists already."""

from itertools import batched
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from app.platform.db.schema_upgrade import find_head_revision, is_known_revision
from app.tenant_transfer.archive_files import ArchiveReader
from app.tenant_transfer.archive_manifest import ArchiveError, ArchiveManifest
from app.tenant_transfer.archive_rows import read_rows
from app.tenant_transfer.import_queries import build_taken
from app.tenant_transfer.table_columns import DatabaseColumns
from app.tenant_transfer.table_transfer import REGISTRY
from app.tenant_transfer.transferred_tables import BY_NAME, TABLES

_REVISION: Final = "SELECT version_num FROM alembic_version"
_SHOWN: Final = 1000
_ROWS_AT_ONCE: Final = 5000
# Existing ids in these tables are no conflict. People whose id is taken get a new one. `find_conflicts`
# checks the organisation itself.
_UNCHECKED: Final = frozenset({"users", "organisations"})


class _UniqueValue(NamedTuple):
    table: str
    column: str
    condition: str
    name: str


_UNIQUE: Final = (
    _UniqueValue("boxes", "id", "t.deleted_at IS NULL", "box ids"),
    _UniqueValue("rights_requests", "reference", "true", "references of rights requests"),
)


async def check_schema(connection: asyncpg.Connection, manifest: ArchiveManifest) -> None:
    """Check that this schema is the archive's, or a newer one.

    Raises:
        ArchiveError: It is older, or the database is not migrated.
    """
    present = await connection.fetchval(_REVISION)
    if present != find_head_revision():
        raise ArchiveError(
            f"the database is at revision {present}, and this program at {find_head_revision()}. Run "
            "`vigie migrate` first"
        )
    if not is_known_revision(manifest.schema_revision):
        raise ArchiveError(
            f"the archive has the schema revision {manifest.schema_revision}, which is newer than this "
            f"database's ({present}). Upgrade Vigie here, or export from an older one"
        )


async def check_integrator(connection: asyncpg.Connection, parent: UUID) -> None:
    """Check that an organisation is an integrator (ArchiveError)."""
    organisations = BY_NAME["organisations"].name
    kind = await connection.fetchval(f"SELECT kind FROM {organisations} WHERE id = $1", parent)  # noqa: S608 (a constant)
    if kind != "integrator":
        raise ArchiveError(f"there is no integrator {parent} here. Leave --parent out, or name another")


def read_kind(archive: ArchiveReader, parent: UUID | None) -> str:
    """Return the kind of the archive's organisation, as its file says.

    Raises:
        ArchiveError: It is an integrator, and would have one.
    """
    kind = next((str(row.get("kind")) for row in read_rows(archive, "organisations")), "")
    if kind == "integrator" and parent is not None:
        raise ArchiveError("the archive is of an integrator, which has none itself. Leave --parent out")
    return kind


async def find_conflicts(
    connection: asyncpg.Connection, archive: ArchiveReader, organisation_id: UUID, columns: DatabaseColumns
) -> list[str]:
    """Find objects of the archive that exist in this database; returns one line for each kind.

    Args:
        connection: sees all organisations.
        archive: the archive.
        organisation_id: the id that the organisation would get.
        columns: the columns of the database.
    """
    found = []
    if await connection.fetch(build_taken(BY_NAME["organisations"], "id"), [organisation_id]):
        found.append(f"the organisation {organisation_id}: choose another id with --as, or delete it first")
    for unique in _UNIQUE:
        taken = await _find_taken(connection, archive, unique)
        if taken:
            found.append(f"{len(taken)} {unique.name}: {_list(taken)}")
    for table in TABLES:
        has_id = any(column.name == "id" and column.type == "uuid" for column in columns[table.name])
        if table.import_step == REGISTRY and has_id and table.name not in _UNCHECKED:
            taken = await _find_taken(connection, archive, _UniqueValue(table.name, "id", "true", "ids"))
            if taken:
                found.append(f"{len(taken)} ids of {table.name}: {_list(taken)}")
    return found


async def _find_taken(
    connection: asyncpg.Connection, archive: ArchiveReader, unique: _UniqueValue
) -> list[str]:
    query = build_taken(BY_NAME[unique.table], unique.column, unique.condition)
    found: list[str] = []
    for rows in batched(read_rows(archive, unique.table), _ROWS_AT_ONCE):
        # Another box may have the id of a box that is deleted in the archive.
        values = [row[unique.column] for row in rows if row.get("deleted_at") is None or unique.name == "ids"]
        found.extend(row[0] for row in await connection.fetch(query, values))
    return found


def _list(values: list[str]) -> str:
    more = "" if len(values) <= _SHOWN else f" and {len(values) - _SHOWN} more"
    return ", ".join(values[:_SHOWN]) + more
