"""Undoes an unfinished import: removes all rows that it wrote."""

from typing import Final
from uuid import UUID

import asyncpg

from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.import_queries import build_emptying
from app.tenant_transfer.table_transfer import STATEMENT_TIMEOUT_S
from app.tenant_transfer.transferred_tables import BY_NAME, TABLES

_FIND: Final = "SELECT finished_at FROM tenant_imports WHERE organisation_id = $1 FOR UPDATE"
_REMOVE: Final = "DELETE FROM tenant_imports WHERE organisation_id = $1"


async def discard_import(connection: asyncpg.Connection, organisation_id: UUID) -> int:
    """Remove everything that an unfinished import wrote; returns the number of rows.

    Accounts of people stay: they have no password and no role.

    Args:
        connection: of the owner of the tables, in no transaction.
        organisation_id: the organisation.

    Raises:
        ArchiveError: There is no unfinished import.
    """
    removed = 0
    async with connection.transaction():
        await connection.execute("SET LOCAL vigie.reach = 'all'")
        row = await connection.fetchrow(_FIND, organisation_id)
        if row is None or row["finished_at"] is not None:
            raise ArchiveError(
                f"there is no unfinished import of organisation {organisation_id}. Delete an organisation by "
                "the API"
            )
        # Deleting a box adds its id to `former_boxes`, so this table is emptied once more.
        for table in (*reversed(TABLES), BY_NAME["former_boxes"]):
            if table.import_step is not None and table.name != "users":
                status = await connection.execute(
                    build_emptying(table), organisation_id, timeout=STATEMENT_TIMEOUT_S
                )
                removed += int(status.rpartition(" ")[2])
        await connection.execute(_REMOVE, organisation_id)
    return removed
