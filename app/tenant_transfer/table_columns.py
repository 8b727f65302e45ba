"""Reads the columns of the transferred tables from the database, and maps numbers of boxes."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.column_dictionary import TableColumn
from app.tenant_transfer.table_transfer import TransferredTable
from app.tenant_transfer.transferred_tables import BY_NAME, LEFT_OUT

# Generated columns follow from others.
_COLUMNS: Final = """
SELECT c.relname::text AS table, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
    NOT a.attnotnull AS nullable
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY c.relname, a.attnum
"""

type DatabaseColumns = Mapping[str, list[TableColumn]]
"""The columns of each table, in their order."""


async def read_columns(connection: asyncpg.Connection) -> DatabaseColumns:
    """Read the columns of all tables.

    Raises:
        ArchiveError: A table is neither transferred nor left out with a reason.
    """
    found: dict[str, list[TableColumn]] = {}
    for row in await connection.fetch(_COLUMNS):
        found.setdefault(row["table"], []).append(TableColumn(row["name"], row["type"], row["nullable"]))
    unknown = sorted(set(found) - set(BY_NAME) - set(LEFT_OUT))
    missing = sorted(set(BY_NAME) - set(found))
    if unknown or missing:
        raise ArchiveError(
            f"the database has another schema than this program: unknown tables {unknown or 'none'}, missing "
            f"tables {missing or 'none'}. Use the program whose `vigie migrate` upgraded the database"
        )
    return found


def select_exported(table: TransferredTable, columns: DatabaseColumns) -> list[TableColumn]:
    """Return the columns of a table's file."""
    exported = [column for column in columns[table.name] if column.name not in table.left_out]
    if table.name == "samples":
        # People recognise boxes by their ids.
        exported.insert(0, TableColumn("box", "text", nullable=False))
    return exported
