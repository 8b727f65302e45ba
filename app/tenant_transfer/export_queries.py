"""Builds the SQL of an export. Pure: names of tables and columns are constants or the database's own.

An archive numbers its boxes from 1. The temporary table `transferred_boxes` maps these numbers to the keys of
the installation.
"""

from collections.abc import Sequence
from typing import Final

from app.tenant_transfer.column_dictionary import TableColumn
from app.tenant_transfer.table_transfer import TransferredTable
from app.tenant_transfer.transferred_tables import BY_NAME, build_scope

CREATE_BOX_NUMBERS: Final = """
CREATE TEMPORARY TABLE transferred_boxes (key integer PRIMARY KEY, number integer NOT NULL, id text NOT NULL)
"""
FILL_BOX_NUMBERS: Final = (
    "INSERT INTO transferred_boxes (key, number, id) "  # noqa: S608 (constants)
    "SELECT t.key, row_number() OVER (ORDER BY t.key), t.id "
    f"FROM {BY_NAME['boxes'].name} t WHERE {build_scope(BY_NAME['boxes'])}"
)
BOX_NUMBERS: Final = "SELECT key, number, id FROM transferred_boxes ORDER BY number"


def build_count(table: TransferredTable) -> str:
    """Build the query that counts the rows of a table for an organisation (`$1`)."""
    return f"SELECT count(*) FROM {table.name} t WHERE {build_scope(table)}"  # noqa: S608 (names of the list)


def _quote(name: str) -> str:
    return f'"{name}"'


def _value(table: TransferredTable, column: TableColumn) -> str:
    if column.name == "box_key" or (table.name, column.name) == ("boxes", "key"):
        number = "m.number" if table.name != "index_states" else "coalesce(m.number, 0)"
        return f"{number} AS {_quote(column.name)}"
    name = f"t.{_quote(column.name)}"
    if column.type == "bytea":
        return f"translate(encode({name}, 'base64'), E'\\n', '') AS {_quote(column.name)}"
    return name


def _join(table: TransferredTable, columns: Sequence[TableColumn]) -> str:
    key = "key" if table.name == "boxes" else "box_key"
    has_key = any(column.name == key for column in columns)
    return f"LEFT JOIN transferred_boxes m ON m.key = t.{key}" if has_key else ""


def _order(table: TransferredTable, columns: Sequence[TableColumn]) -> str:
    texts = {column.name for column in columns if column.type == "text"}
    found = []
    for name in table.order:
        if name == "box_key" or (table.name, name) == ("boxes", "key"):
            found.append("m.number")
        else:
            # COLLATE "C" gives the same order in each installation.
            found.append(f"t.{_quote(name)}" + (' COLLATE "C"' if name in texts else ""))
    return ", ".join(found)


def build_json_query(table: TransferredTable, columns: Sequence[TableColumn]) -> str:
    """Build the query for the lines of a file of JSON, for an organisation (`$1`)."""
    values = ", ".join(_value(table, column) for column in columns)
    return (
        f"SELECT row_to_json(r)::text FROM (SELECT {values} FROM {table.name} t {_join(table, columns)} "  # noqa: S608 (names)
        f"WHERE {build_scope(table)} ORDER BY {_order(table, columns)}) r"
    )


def build_series_query(table: TransferredTable, columns: Sequence[TableColumn]) -> str:
    """Build the query for the rows of a box: its key (`$1`), its number (`$2`) and its id (`$3`)."""
    replaced = {"box_key": "$2::integer AS box_key", "box": "$3::text AS box"}
    # Each query uses all parameters, or PostgreSQL could not tell their types.
    unused = "" if any(column.name == "box" for column in columns) else " AND $3::text IS NOT NULL"
    values = ", ".join(replaced.get(column.name, f"t.{_quote(column.name)}") for column in columns)
    texts = {column.name for column in columns if column.type == "text"}
    order = ", ".join(
        f"t.{_quote(name)}" + (' COLLATE "C"' if name in texts else "") for name in table.order[1:]
    )
    return f"SELECT {values} FROM {table.name} t WHERE t.box_key = $1{unused} ORDER BY {order}"  # noqa: S608 (names)
