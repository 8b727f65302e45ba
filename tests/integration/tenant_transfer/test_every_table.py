"""Each table and column: exported, or left out with a reason; imported; and nothing of another tenant."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import jsonschema_rs
import pyarrow.parquet as pq
import pytest

from app.standalone.private_postgres import PrivatePostgres
from app.tenant_transfer.column_dictionary import describe_column
from app.tenant_transfer.table_columns import read_columns, select_exported
from app.tenant_transfer.transferred_tables import BY_NAME, LEFT_OUT, TABLES
from tests.databases import Databases
from tests.integration.tenant_transfer.archives import export_to, import_from, read_files, read_lines
from tests.integration.tenant_transfer.planting import (
    PlantedTenant,
    connect_as_superuser,
    drop_checks,
    plant,
    plant_former_log,
)

# What an import changes, as docs/operations/tenant-export.md says.
CHANGED: Final = {
    "webhook_endpoints": {"enabled"},
    "report_schedules": {"enabled"},
}
# The chain of a log does not bear what is no entry.
LOGS: Final = frozenset({"audit_log", "audit_heads", "audit_pending", "imported_audit_entries"})
OWN: Final = {"README.md"}


class Planted(NamedTuple):
    url: str
    tenant: PlantedTenant
    stranger: PlantedTenant


@pytest.fixture
async def planted(postgres: PrivatePostgres, database_url: str) -> Planted:
    connection = await connect_as_superuser(postgres.superuser_url, database_url)
    await drop_checks(connection)
    stranger = await plant(connection, "canary", 900_001)
    # The positions have one row for each partition, whoever's boxes are in it.
    tenant = await plant(connection, "ours", 900_002, LOGS | {"ingest_positions"})
    await plant_former_log(connection, tenant.organisation, 7)
    await connection.close()
    return Planted(database_url, tenant, stranger)


@pytest.fixture
async def second_url(postgres: PrivatePostgres, databases: Databases) -> AsyncIterator[str]:
    async with asyncio.timeout(60):
        url = await databases.take()
    connection = await connect_as_superuser(postgres.superuser_url, url)
    await drop_checks(connection)
    await connection.close()
    yield url
    databases.give_back(url)


async def test_every_table_and_column_is_exported_or_left_out_with_a_reason(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    columns = await read_columns(connection)
    await connection.close()
    assert not set(BY_NAME) & set(LEFT_OUT)
    assert all(LEFT_OUT.values())
    for table in TABLES:
        present = {column.name for column in columns[table.name]}
        assert set(table.left_out) <= present, table.name
        assert set(table.filled) <= set(table.left_out), table.name
        assert (table.import_step is None) == (table.export_only is not None), table.name
        for column in select_exported(table, columns):
            assert describe_column(table.name, column.name).endswith("."), (table.name, column.name)


def _as_json(value: Any) -> Any:  # noqa: ANN401, PLR0911 (a value of any type)
    """How an archive has a planted value; `...` where that is for the schema to say."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case str():
            return json.loads(value) if value.startswith("{") else value
        case UUID():
            return str(value)
        case [asyncpg.Range(), *_]:
            return ...
        case [*values]:
            return [_as_json(each) for each in values]
        case bool() | int() | float():
            return value
        case _:
            return ...


def _compare(table: str, found: dict[str, Any], row: dict[str, Any]) -> None:
    for name, value in found.items():
        expected = 1 if name in {"box_key", "key"} else _as_json(row[name])
        assert value is not None if expected is ... else value == expected, (table, name)


async def test_an_archive_has_each_column_of_the_tenant_and_nothing_of_another_one(
    planted: Planted, folder: Path
) -> None:
    target = folder / "ours.zip"
    manifest = await export_to(planted.url, planted.tenant.organisation, target)
    files = read_files(target)
    told = [b"canary", base64.b64encode(b"canary")[:8], b"900001", b"900002"]
    told += [str(each).encode() for each in planted.stranger.ids.values()]
    for path, content in files.items():
        for each in told:
            assert each not in content, (path, each)
    for table in TABLES:
        row = planted.tenant.rows[table.name]
        if table.is_columnar:
            read = pq.read_table(io.BytesIO(files[f"{table.name}/{table.name}-00001.parquet"]))
            (found,) = read.to_pylist()
            assert found.pop("box_key") == 1
            assert found.pop("box", "ours-boxes-id") == "ours-boxes-id"
            assert found == {name: value for name, value in row.items() if name != "box_key"}
        else:
            (found,) = read_lines(files[f"tables/{table.name}.jsonl"])
            jsonschema_rs.validate(json.loads(files[f"schemas/{table.name}.schema.json"]), found)
            assert set(found) == set(row) - set(table.left_out), table.name
            _compare(table.name, found, row)
    text = b"".join(files.values())
    for table in TABLES:
        for column in table.left_out:
            assert f"ours-{table.name}-{column}".encode() not in text
    for name in LEFT_OUT:
        assert f"ours-{name}-".encode() not in text, name
    assert {each.table for each in manifest.left_out} >= {"totp_secrets", "boxes", "user_sessions"}


async def test_what_is_imported_and_exported_again_is_the_same(
    planted: Planted, second_url: str, folder: Path
) -> None:
    await export_to(planted.url, planted.tenant.organisation, folder / "first")
    done = await import_from(second_url, folder / "first", folder / "credentials.csv")
    assert done.organisation_id == planted.tenant.organisation
    await export_to(second_url, done.organisation_id, folder / "second.zip")
    first, second = read_files(folder / "first"), read_files(folder / "second.zip")
    for path, content in first.items():
        table = BY_NAME.get(Path(path).name.partition(".")[0])
        if path in OWN:
            continue
        if path == "audit/log.ndjson":
            assert second["audit/before-import-2.ndjson"] == content
            assert second["audit/before-import-1.ndjson"] == first["audit/before-import-7.ndjson"]
        elif path.startswith("audit/"):
            continue
        elif table is not None and path.startswith("tables/") and table.import_step is None:
            assert second[path] == b""
        elif table is not None and path.startswith("tables/") and table.name in CHANGED:
            for one, other in zip(read_lines(content), read_lines(second[path]), strict=True):
                differing = {name for name in one if one[name] != other[name]}
                assert differing == CHANGED[table.name], path
        else:
            assert second[path] == content, path
