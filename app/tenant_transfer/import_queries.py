"""Builds the SQL of an import. Pure: names of tables and columns are constants or the database's own.

Parameters of an INSERT are the rows as an array of JSON (`$1`) and the organisation (`$2`). The temporary
tables `transferred_boxes` and `transferred_users` map numbers of boxes and ids of people.
"""

from collections.abc import Sequence
from typing import Final

from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.column_dictionary import TableColumn
from app.tenant_transfer.table_transfer import TransferredTable
from app.tenant_transfer.transferred_tables import BY_NAME, TABLES, build_scope

CREATE_USER_IDS: Final = (
    "CREATE TEMPORARY TABLE transferred_users (former uuid PRIMARY KEY, present uuid NOT NULL)"
)
MAP_BOXES: Final = """
INSERT INTO transferred_boxes (key, number, id)
SELECT g.key, g.number, '' FROM unnest($1::integer[]) WITH ORDINALITY AS g (key, number)
"""
# As `purge_people_data` would: accounts without a membership, such as those of a deleted or discarded import.
FORGET_USERS: Final = f"""
DELETE FROM {BY_NAME["users"].name} u WHERE u.id = ANY ($1)
    AND NOT EXISTS (SELECT FROM {BY_NAME["memberships"].name} m WHERE m.user_id = u.id)
"""  # noqa: S608 (constants)
FIND_USERS: Final = f"SELECT id FROM {BY_NAME['users'].name} WHERE id = ANY ($1)"  # noqa: S608 (constants)

# Columns that refer to rows of other tables: a wrong archive must not attach to those of other tenants.
FOREIGN_KEYS: Final = """
SELECT c.conrelid::regclass::text AS table, a.attname::text AS column, c.confrelid::regclass::text AS parent,
    p.attname::text AS key
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = c.confkey[1]
WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND cardinality(c.conkey) = 1
ORDER BY 1, 2
"""


def choose_columns(
    table: TransferredTable, archived: Sequence[str], present: Sequence[TableColumn]
) -> list[TableColumn]:
    """Return the columns of a file with their types in this database.

    Raises:
        ArchiveError: The file has a column that this schema does not have.
    """
    known = {column.name: column for column in present}
    wanted = [name for name in archived if (table.name, name) != ("samples", "box")]
    unknown = [name for name in wanted if name not in known or name in table.left_out]
    if unknown:
        raise ArchiveError(
            f"the archive's file of {table.name} has the columns {', '.join(unknown)}, which this program "
            "does not know: a newer one wrote it. Upgrade Vigie here"
        )
    return [known[name] for name in wanted]


def build_insert(table: TransferredTable, columns: Sequence[TableColumn]) -> str:
    """Build the INSERT of rows in JSON."""
    definitions = ", ".join(
        f'"{column.name}" {"text" if column.type == "bytea" else column.type}' for column in columns
    )
    targets = {}
    for column in columns:
        # The database numbers boxes itself.
        if (table.name, column.name) != ("boxes", "key"):
            targets[column.name] = _value(table, column)
    targets |= table.filled
    has_key = any(column.name == "box_key" for column in columns)
    join = "LEFT JOIN transferred_boxes m ON m.number = x.box_key" if has_key else ""
    names = ", ".join(f'"{name}"' for name in targets)
    return (
        f"INSERT INTO {table.name} ({names}) SELECT {', '.join(targets.values())} "  # noqa: S608 (names)
        f"FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS ({definitions})) WITH ORDINALITY AS x {join} "
        "WHERE $2::uuid IS NOT NULL ORDER BY x.ordinality"
    )


def _value(table: TransferredTable, column: TableColumn) -> str:
    name = f'x."{column.name}"'
    if column.name in table.converted:
        return table.converted[column.name]
    if column.name == "organisation_id":
        return "$2::uuid"
    if column.name == "box_key":
        # Zero stands for the whole site in states of rules on indices.
        return "CASE x.box_key WHEN 0 THEN 0 ELSE m.key END" if table.name == "index_states" else "m.key"
    if column.name == table.self_reference:
        return "NULL"
    return f"decode({name}, 'base64')" if column.type == "bytea" else name


def build_emptying(table: TransferredTable) -> str:
    """Build the DELETE of rows that triggers made for the organisation (`$1`)."""
    return f"DELETE FROM {table.name} t WHERE {build_scope(table)}"  # noqa: S608 (names)


def build_self_reference(table: TransferredTable) -> str:
    """Build the UPDATE of the references between rows: ids (`$1`) and what they refer to (`$2`)."""
    return (
        f"UPDATE {table.name} t SET {table.self_reference} = g.other "  # noqa: S608 (names)
        "FROM unnest($1::uuid[], $2::uuid[]) AS g (id, other) WHERE t.id = g.id"
    )


def build_foreign_count(table: TransferredTable, column: str, parent: str, key: str) -> str:
    """Build the count of rows of an organisation (`$1`) that refer to rows of another one."""
    owned = build_scope(BY_NAME[parent])
    return (
        f"SELECT count(*) FROM (SELECT t.{column} AS other FROM {table.name} t WHERE {build_scope(table)}) r "  # noqa: S608 (names)
        "WHERE r.other IS NOT NULL "
        f"AND NOT EXISTS (SELECT FROM {parent} t WHERE t.{key} = r.other AND {owned})"
    )


def build_taken(table: TransferredTable, column: str, condition: str = "true") -> str:
    """Build the query for those of some values (`$1`) that exist here already."""
    return (
        f"SELECT t.{column}::text FROM {table.name} t WHERE t.{column} = ANY ($1) AND {condition} ORDER BY 1"  # noqa: S608 (names)
    )


def list_tables(step: str) -> list[TransferredTable]:
    """Return the tables of a step of the import, in order."""
    return [table for table in TABLES if table.import_step == step]
