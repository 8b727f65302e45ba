"""Describes each file of an archive as JSON Schema, from the columns of the database. Pure."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.catalogue.metrics import CATALOGUE
from app.tenant_transfer.table_transfer import TransferredTable

_FILE: Final = Path(__file__).with_name("column_descriptions.toml")
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INTEGERS: Final = {"smallint": 15, "integer": 31, "bigint": 63}
_STRINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "text": {},
    "uuid": {"format": "uuid"},
    "date": {"format": "date"},
    "timestamp with time zone": {"format": "date-time"},
    "tstzmultirange": {},
    "bytea": {"contentEncoding": "base64"},
}


class TableColumn(NamedTuple):
    """A column of a file: its name, its PostgreSQL type, and whether it may be null."""

    name: str
    type: str
    nullable: bool


@cache
def _descriptions() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def describe_column(table: str, column: str) -> str:
    """Return the description of a column (KeyError if it has none)."""
    if table == "samples":
        for metric in CATALOGUE:
            if metric.name == column:
                return f"{metric.description} ({metric.unit})."
    found = _descriptions()
    return found.get(table, {}).get(column) or found["all"][column]


def _value_schema(type_: str) -> dict[str, Any]:
    """Return the schema of a value, as PostgreSQL writes it in JSON (KeyError for an unknown type)."""
    if type_.endswith("[]"):
        return {"type": "array", "items": _value_schema(type_.removesuffix("[]"))}
    if type_ == "jsonb":
        return {}
    if type_ == "boolean":
        return {"type": "boolean"}
    if type_ in _INTEGERS:
        bits = _INTEGERS[type_]
        return {"type": "integer", "minimum": -(2**bits), "maximum": 2**bits - 1}
    if type_ in {"real", "double precision"}:
        return {"type": "number"}
    return {"type": "string", **_STRINGS[type_]}


def build_row_schema(table: TransferredTable, columns: Sequence[TableColumn]) -> dict[str, Any]:
    """Build the JSON Schema of a row: a line of JSON Lines, or a row of Parquet as an object.

    Args:
        table: the table.
        columns: the columns of the file.
    """
    properties = {}
    for column in columns:
        schema = _value_schema(column.type)
        if column.nullable and "type" in schema:
            schema["type"] = [schema["type"], "null"]
        properties[column.name] = {"description": describe_column(table.name, column.name), **schema}
    return {
        "$schema": _DIALECT,
        "title": table.name,
        "description": table.description,
        "type": "object",
        "properties": properties,
        "required": [column.name for column in columns],
        "additionalProperties": False,
    }
