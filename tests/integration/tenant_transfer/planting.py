"""A row in every table for one organisation, with a mark in each text, to be found in an archive or not.

The superuser does it: constraints on values are dropped, triggers and foreign keys are off.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from app.audit.hash_chain import GENESIS_HASH, hash_record
from app.tenant_transfer.import_queries import FOREIGN_KEYS
from app.tenant_transfer.transferred_tables import TABLES

# Of these there is one row, or none that a tenant could have.
SINGLE: Final = {"alembic_version", "registry", "metrics", "installation_settings"}
TIME: Final = datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
_COLUMNS: Final = """
SELECT c.relname::text AS table, a.attname::text AS name, format_type(a.atttypid, NULL) AS type,
    a.attidentity <> ''::"char" AS numbered
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY c.relname, a.attnum
"""
_CHECKS: Final = """
SELECT conrelid::regclass::text AS table, conname::text AS name FROM pg_constraint
WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""


@dataclass
class PlantedTenant:
    """What was planted.

    Attributes:
        mark: part of every text.
        organisation: whose it is.
        box_key: its only box.
        ids: by table.
        rows: by table, as PostgreSQL takes them.
    """

    mark: str
    organisation: UUID
    box_key: int
    ids: dict[str, UUID] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)


async def connect_as_superuser(superuser_url: str, url: str) -> asyncpg.Connection:
    """Connect to the database of `url`, with neither triggers nor foreign keys."""
    address = superuser_url.rpartition("/")[0] + "/" + url.rpartition("/")[2]
    return await asyncpg.connect(
        address, server_settings={"session_replication_role": "replica", "timezone": "UTC"}
    )


async def drop_checks(connection: asyncpg.Connection) -> None:
    """Let every column take any text."""
    for table, name in await connection.fetch(_CHECKS):
        await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


# An import refuses others, by which all tenants would suffer.
_CONDITION: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25}
_USABLE: Final[dict[tuple[str, str], Any]] = {
    ("sites", "timezone"): "Europe/Paris",
    ("silences", "timezone"): "Europe/Paris",
    ("silences", "schedule"): "{}",  # no spans
    ("rules", "definition"): json.dumps({"levels": [{"severity": "info", "condition": _CONDITION}]}),
}


def _value(planted: PlantedTenant, table: str, column: str, type_: str) -> Any:  # noqa: ANN401, C901, PLR0911 (a value of any type)
    if (table, column) in _USABLE:
        return _USABLE[table, column]
    text = f"{planted.mark}-{table}-{column}"
    if type_.endswith("[]"):
        single = _value(planted, table, column, type_.removesuffix("[]"))
        return [single] * 24 if table == "hourly" else [single]
    match type_:
        case "text" | "character varying":
            return text
        case "uuid":
            return uuid4()
        case "jsonb":
            return f'{{"mark": "{text}"}}'
        case "bytea":
            return text.encode()
        case "boolean":
            return column != "platform"
        case "date":
            return date(2026, 1, 2)
        case "timestamp with time zone":
            # Not all the same: a column that is written for another one shows.
            return TIME + timedelta(seconds=sum(column.encode()))
        case "real" | "double precision":
            return 1.25
        case "tstzmultirange":
            return [asyncpg.Range(TIME, TIME + timedelta(days=1))]
        case _:
            return 7


def _own(planted: PlantedTenant, table: str, column: str, value: Any) -> Any:  # noqa: ANN401 (a value of any type)
    """The ids of the tenant, its box and the row itself."""
    if column == "box_key" or (table, column) == ("boxes", "key"):
        return planted.box_key
    if column == "organisation_id":
        return planted.organisation
    return planted.ids[table] if column == "id" and isinstance(value, UUID) else value


async def plant(
    connection: asyncpg.Connection, mark: str, box_key: int, without: frozenset[str] = frozenset()
) -> PlantedTenant:
    """Give a new organisation a row in every table.

    Args:
        connection: of `connect_as_superuser`.
        mark: part of every text.
        box_key: the key of its box.
        without: tables that get none.
    """
    planted = PlantedTenant(mark, uuid4(), box_key)
    columns = await connection.fetch(_COLUMNS)
    planted.ids = {row["table"]: uuid4() for row in columns}
    planted.ids["organisations"] = planted.organisation
    references = {(each.name, each.parent[0]): each.parent[1] for each in TABLES if each.parent is not None}
    for found in await connection.fetch(FOREIGN_KEYS):
        references[found["table"], found["column"]] = found["parent"]
    for table, column, type_, numbered in columns:
        if table in SINGLE | without or (numbered and (table, column) != ("boxes", "key")):
            continue
        parent = references.get((table, column))
        value = planted.ids[parent] if parent is not None else _value(planted, table, column, type_)
        planted.rows.setdefault(table, {})[column] = _own(planted, table, column, value)
    for table, values in planted.rows.items():
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await connection.execute(
            # Names are those of the database.
            f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({places})",  # noqa: S608
            *values.values(),
        )
    return planted


async def plant_former_log(connection: asyncpg.Connection, organisation: UUID, log: int) -> None:
    """Give an organisation the log of a former installation, of one entry."""
    source = uuid4()
    record = json.dumps({"organisation_id": str(source), "position": 1, "action": "site.created"})
    row = (organisation, log, 1, source, record, GENESIS_HASH, hash_record(GENESIS_HASH, record))
    await connection.execute("INSERT INTO imported_audit_entries VALUES ($1, $2, $3, $4, $5, $6, $7)", *row)
