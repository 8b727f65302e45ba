"""A furnished tenant goes from one installation to another: whole, once, with new credentials, and alone."""

import asyncio
import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import pandas as pd
import pytest

from app.platform.broker.mosquitto_password_hash import verify_mosquitto_password
from app.platform.kernel.ids import new_id
from app.platform.secrets.sealed_columns import WEBHOOK_SECRET
from app.registry.broker_password_file import ACCOUNTS_CHANNEL
from app.tenant_transfer import tenant_import
from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.discarded_imports import discard_import
from app.tenant_transfer.import_activation import enable_rules
from app.tenant_transfer.import_writers import RowWriter
from app.tenant_transfer.tenant_export import _Export
from app.tenant_transfer.tenant_import import ImportOptions
from app.tenant_transfer.transferred_tables import TABLES
from app.timeseries.rollups.backfill import sync_time_zones
from tests.conftest import Tenant
from tests.integration.access.world import MARK, TenantsUnderTest, make
from tests.integration.tenant_transfer.archives import (
    SEALER,
    export_to,
    import_from,
    read_files,
    read_lines,
)

# What no call of the API makes here.
EMPTY: Final = {
    *("box_refusals", "broker_accounts", "daily", "door_refusals", "erasure_boxes", "former_boxes", "hourly"),
    *("incident_marks", "index_states", "quota_notices", "removals", "report_runs", "retention_states"),
    *("rollup_day_marks", "rollup_states", "site_states", "backtests", "incident_events"),
    "incident_history",
}
CHANGED: Final = {"enabled", "disabled_reason", "disabled_at", "state", "fanned_out_at", "revoked_at"}


async def _fetch(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, server_settings={"vigie.reach": "all"})
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def test_a_furnished_tenant_comes_out_of_another_installation_as_it_went_in(
    world: TenantsUnderTest, database_url: str, second_url: str, folder: Path
) -> None:
    organisation_id = UUID(world.client.id)
    manifest = await export_to(database_url, organisation_id, folder / "first.zip")
    first = read_files(folder / "first.zip")
    empty = {table.name for table in TABLES if not manifest.count_rows(table.name)}
    assert empty <= EMPTY
    text = b"".join(content for path, content in first.items() if not path.startswith("audit/"))
    assert MARK.encode() in text
    for stranger in (world.sibling, world.stranger):
        assert stranger.id.encode() not in b"".join(first.values())

    await import_from(second_url, folder / "first.zip", folder / "credentials.csv")
    await export_to(second_url, organisation_id, folder / "second")
    second = read_files(folder / "second")
    for path, content in first.items():
        table = path.removeprefix("tables/").removesuffix(".jsonl")
        if path.startswith("tables/") and manifest.list_table_files(table)[0].imported:
            for one, other in zip(read_lines(content), read_lines(second[path]), strict=True):
                assert {name for name in one if one[name] != other[name]} <= CHANGED, path
        elif not path.startswith(("audit/", "tables/", "README")):
            assert second[path] == content, path
    assert second["audit/before-import-1.ndjson"] == first["audit/log.ndjson"]


async def test_clients_read_it_with_pandas_as_the_guide_says(
    world: TenantsUnderTest, database_url: str, folder: Path
) -> None:
    await export_to(database_url, UUID(world.client.id), folder / "archive")
    samples = pd.read_parquet(folder / "archive" / "samples")
    alerts = pd.read_json(folder / "archive" / "tables" / "alerts.jsonl", lines=True)
    assert samples.groupby("box")["time"].agg(["min", "max", "count"])["count"].to_dict() == {
        world.ids["box"]: 39
    }
    assert alerts.groupby("severity").size().to_dict() == {"warning": 1}
    for path in ("README.md", "schemas/samples.schema.json"):
        assert (folder / "archive" / path).stat().st_size > 1000


async def test_an_export_is_of_one_time_and_keeps_nobody_waiting(
    world: TenantsUnderTest, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await _fetch(database_url, "SELECT count(*) FROM samples")
    whole = _Export.write_series

    async def late(self: _Export, *arguments: Any) -> None:  # noqa: ANN401 (those of the method)
        at = datetime.now(UTC).isoformat()
        sample = {"time": at, "values": {"laeq": 40.5}}
        # What comes in while the snapshot is open is stored at once, and boxes and sites can be changed.
        async with asyncio.timeout(60):
            await make(world.client.client, "/v1/telemetry", box=world.ids["box"], samples=[sample])
            put = await world.client.client.patch(f"/v1/sites/{world.ids['site_id']}", json={"name": at})
            assert put.status_code == 200
        await whole(self, *arguments)

    monkeypatch.setattr(_Export, "write_series", late)
    manifest = await export_to(database_url, UUID(world.client.id), folder / "archive")
    assert manifest.count_rows("samples") == before[0][0]
    assert await _fetch(database_url, "SELECT count(*) FROM samples") != before


async def test_nothing_is_sent_and_nobody_gets_in_before_somebody_enables_it(
    world: TenantsUnderTest, database_url: str, second_url: str, folder: Path
) -> None:
    organisation_id = UUID(world.client.id)
    await export_to(database_url, organisation_id, folder / "archive")
    target = folder / "credentials.csv"
    told: list[str] = []
    maintainer = await asyncpg.connect(second_url)
    await maintainer.add_listener(ACCOUNTS_CHANNEL, lambda *_: told.append("accounts"))
    done = await import_from(second_url, folder / "archive", target)
    await maintainer.fetch("SELECT 1")
    await maintainer.close()
    assert told == ["accounts"]
    assert target.stat().st_mode & 0o777 == 0o600
    with target.open(encoding="utf-8") as lines:
        given = list(csv.DictReader(lines))
    assert len(given) == done.credentials
    kinds = {row["kind"]: row for row in given}
    (box,) = await _fetch(second_url, "SELECT id, password_hash FROM boxes WHERE deleted_at IS NULL")
    assert box["id"] == kinds["box"]["id"]
    assert verify_mosquitto_password(kinds["box"]["secret"], box["password_hash"])
    endpoints = await _fetch(
        second_url, "SELECT id, kind, enabled, secret, headers, credentials FROM webhook_endpoints"
    )
    for each in endpoints:
        assert (each["enabled"], each["headers"], each["credentials"]) == (False, None, None)
        if each["kind"] == "webhook":
            assert WEBHOOK_SECRET.open(SEALER, each["secret"], each["id"]) == kinds["webhook"]["secret"]
    for query in (
        "SELECT FROM outbox WHERE fanned_out_at IS NULL",
        "SELECT FROM deliveries WHERE state = 'pending'",
        "SELECT FROM report_schedules WHERE enabled",
        "SELECT FROM users WHERE password_hash IS NOT NULL",
        "SELECT FROM api_keys WHERE revoked_at IS NULL",
        "SELECT FROM organisations WHERE platform AND id = '" + str(organisation_id) + "'",
    ):
        assert await _fetch(second_url, query) == []
    assert await _fetch(second_url, "SELECT FROM rules WHERE enabled") != []
    created = "SELECT FROM audit_log WHERE organisation_id = $1 AND action = 'organisation.created'"
    assert len(await _fetch(second_url, created, organisation_id)) == 1
    read = await _fetch(
        database_url,
        "SELECT record FROM audit_log WHERE organisation_id = $1 ORDER BY position DESC LIMIT 1",
        organisation_id,
    )
    assert json.loads(read[0]["record"])["action"] == "organisation.read"


async def test_an_interrupted_import_continues_and_a_finished_one_is_not_repeated(
    world: TenantsUnderTest,
    database_url: str,
    second_url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation_id = UUID(world.client.id)
    await export_to(database_url, organisation_id, folder / "archive.zip")
    whole = RowWriter.write_series

    async def broken(self: RowWriter, *arguments: Any) -> int:  # noqa: ANN401 (those of the method)
        await whole(self, *arguments)
        raise ConnectionResetError

    monkeypatch.setattr(RowWriter, "write_series", broken)
    with pytest.raises(ConnectionResetError):
        await import_from(second_url, folder / "archive.zip", folder / "credentials.csv")
    assert not (folder / "credentials.csv").exists()
    assert await _fetch(second_url, "SELECT FROM samples LIMIT 1") == []
    monkeypatch.setattr(RowWriter, "write_series", whole)
    await import_from(second_url, folder / "archive.zip", folder / "credentials.csv")
    once = await _fetch(second_url, "SELECT count(*) FROM samples")
    again = await import_from(second_url, folder / "archive.zip", folder / "other.csv")
    assert (again.credentials, (folder / "other.csv").exists()) == (None, False)
    assert await _fetch(second_url, "SELECT count(*) FROM samples") == once
    # Another archive of the same organisation is not mixed into it.
    await export_to(database_url, organisation_id, folder / "later.zip")
    with pytest.raises(ArchiveError, match="another archive"):
        await import_from(second_url, folder / "later.zip", folder / "other.csv")


async def test_maintenance_may_work_on_a_tenant_while_it_is_imported(
    world: TenantsUnderTest,
    database_url: str,
    second_url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await export_to(database_url, UUID(world.client.id), folder / "archive")
    whole = RowWriter.write_series

    async def beside_maintenance(self: RowWriter, *arguments: Any) -> int:  # noqa: ANN401 (those of the method)
        maintainer = await asyncpg.connect(second_url, server_settings={"vigie.reach": "all"})
        await sync_time_zones(maintainer)
        assert await maintainer.fetchval("SELECT count(*) FROM rollup_states") == 1
        await maintainer.close()
        return await whole(self, *arguments)

    monkeypatch.setattr(RowWriter, "write_series", beside_maintenance)
    done = await import_from(second_url, folder / "archive", folder / "credentials.csv")
    assert done.credentials == 2


async def test_an_import_that_broke_off_can_be_undone(
    world: TenantsUnderTest,
    database_url: str,
    second_url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation_id = UUID(world.client.id)
    await export_to(database_url, organisation_id, folder / "archive")

    async def broken(*_: Any) -> int:  # noqa: ANN401 (those of the method)
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(tenant_import, "issue_credentials", broken)
        with pytest.raises(OSError, match=r"^$"):
            await import_from(second_url, folder / "archive", folder / "credentials.csv")
    assert await _fetch(second_url, "SELECT FROM samples LIMIT 1") != []
    connection = await asyncpg.connect(second_url)
    assert await discard_import(connection, organisation_id) > 50
    with pytest.raises(ArchiveError, match="no unfinished import"):
        await discard_import(connection, organisation_id)
    await connection.close()
    for table in TABLES:
        if table.name != "users":
            assert await _fetch(second_url, f"SELECT FROM {table.name} LIMIT 1") == [], table.name
    # As if nothing had been.
    done = await import_from(second_url, folder / "archive", folder / "credentials.csv")
    assert done.credentials == 2


async def test_an_organisation_that_was_deleted_after_its_import_can_be_imported_again(
    tenant: Tenant, database_url: str, second_url: str, folder: Path
) -> None:
    owner = UUID(tenant.id)
    await export_to(database_url, owner, folder / "archive")
    await import_from(second_url, folder / "archive", folder / "credentials.csv")
    await _fetch(second_url, "DELETE FROM organisations WHERE id = $1", owner)
    done = await import_from(second_url, folder / "archive", folder / "other.csv")
    assert done.credentials == 0
    assert await _fetch(second_url, "SELECT FROM organisations WHERE id = $1", owner) != []
    logs = await _fetch(second_url, "SELECT DISTINCT log FROM imported_audit_entries ORDER BY log")
    assert [row["log"] for row in logs] == [1, 2]


async def test_only_the_rules_of_the_imported_organisation_are_enabled(
    world: TenantsUnderTest, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"vigie.reach": "all"})
    await connection.execute("UPDATE rules SET enabled = false")
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM rules")]
    await enable_rules(connection, UUID(world.integrator.id), ids)
    assert await connection.fetch("SELECT FROM rules WHERE enabled") == []
    await enable_rules(connection, UUID(world.client.id), ids)
    enabled = await connection.fetch("SELECT id FROM rules WHERE enabled")
    await connection.close()
    assert [row["id"] for row in enabled] == ids != []


async def test_a_spreadsheet_evaluates_no_name_in_the_credentials(
    tenant: Tenant, site_id: str, database_url: str, second_url: str, folder: Path
) -> None:
    box = {"id": "box-1", "site_id": site_id, "name": "=1+1"}
    (await tenant.client.post("/v1/boxes", json=box)).raise_for_status()
    await export_to(database_url, UUID(tenant.id), folder / "archive")
    await import_from(second_url, folder / "archive", folder / "credentials.csv")
    with (folder / "credentials.csv").open(encoding="utf-8") as lines:
        assert [row["name"] for row in csv.DictReader(lines)] == ["'=1+1"]


async def test_what_exists_already_is_listed_and_nothing_is_imported(
    world: TenantsUnderTest, database_url: str, folder: Path
) -> None:
    await export_to(database_url, UUID(world.client.id), folder / "archive")
    before = await _fetch(database_url, "SELECT count(*) FROM boxes")
    with pytest.raises(ArchiveError) as refused:
        await import_from(
            database_url, folder / "archive", folder / "credentials.csv", ImportOptions(new_id())
        )
    told = str(refused.value)
    assert f"1 box ids: {world.ids['box']}" in told
    assert f"ids of sites: {world.ids['site_id']}" in told
    assert await _fetch(database_url, "SELECT count(*) FROM boxes") == before
    assert await _fetch(database_url, "SELECT FROM tenant_imports") == []


async def test_a_tenant_gets_another_id_name_and_integrator(
    world: TenantsUnderTest, database_url: str, second_url: str, folder: Path
) -> None:
    await export_to(database_url, UUID(world.client.id), folder / "archive")
    await export_to(database_url, UUID(world.integrator.id), folder / "integrator")
    integrator = await import_from(second_url, folder / "integrator", folder / "one.csv")
    options = ImportOptions(new_id(), "Renamed", integrator.organisation_id)
    done = await import_from(second_url, folder / "archive", folder / "two.csv", options)
    (row,) = await _fetch(
        second_url, "SELECT name, parent_id FROM organisations WHERE id = $1", done.organisation_id
    )
    assert (done.organisation_id, tuple(row)) == (
        options.organisation_id,
        ("Renamed", integrator.organisation_id),
    )
    (count,) = await _fetch(
        second_url, "SELECT count(*) FROM sites WHERE organisation_id = $1", done.organisation_id
    )
    assert count[0] == 1
    wrong = ImportOptions(new_id(), None, done.organisation_id)
    with pytest.raises(ArchiveError, match="no integrator"):
        await import_from(second_url, folder / "archive", folder / "three.csv", wrong)


_ADD_USER: Final = """
INSERT INTO users (id, email, name, locale, password_hash, created_at, updated_at)
VALUES ($1, $2, 'Known', 'fr', 'secret', now(), now())
"""
_IMPORTED: Final = """
SELECT u.id, u.password_hash FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organisation_id = $1
"""


async def test_an_account_with_the_address_of_a_member_gets_no_membership(
    world: TenantsUnderTest, database_url: str, second_url: str, folder: Path
) -> None:
    organisation = UUID(world.client.id)
    await export_to(database_url, organisation, folder / "archive")
    squatter = new_id()
    await _fetch(second_url, _ADD_USER, squatter, f"{MARK}-member@example.com")
    await import_from(second_url, folder / "archive", folder / "credentials.csv")
    (member,) = await _fetch(second_url, _IMPORTED, organisation)
    (former,) = await _fetch(database_url, _IMPORTED, organisation)
    assert tuple(member) == (former["id"], None)
    assert await _fetch(second_url, "SELECT FROM memberships WHERE user_id = $1", squatter) == []


@pytest.mark.parametrize("is_member", [True, False])
async def test_an_account_with_the_id_of_a_member_gets_no_membership(
    world: TenantsUnderTest, database_url: str, second_url: str, folder: Path, *, is_member: bool
) -> None:
    organisation, other = UUID(world.client.id), new_id()
    await export_to(database_url, organisation, folder / "archive")
    (former,) = await _fetch(database_url, _IMPORTED, organisation)
    await _fetch(second_url, _ADD_USER, former["id"], f"{MARK}-member@example.com")
    if is_member:
        await _fetch(
            second_url,
            "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'Other', now(), now())",
            other,
        )
        await _fetch(
            second_url,
            "INSERT INTO memberships (id, user_id, organisation_id, role, created_at, updated_at)"
            " VALUES ($1, $2, $3, 'owner', now(), now())",
            new_id(),
            former["id"],
            other,
        )
    await import_from(second_url, folder / "archive", folder / "credentials.csv")
    (member,) = await _fetch(second_url, _IMPORTED, organisation)
    assert member["password_hash"] is None
    # An account without a membership is a leftover, which maintenance would delete.
    assert (member["id"] == former["id"]) is not is_member
    kept = [tuple(row) for row in await _fetch(second_url, _IMPORTED, other)]
    assert kept == ([(former["id"], "secret")] if is_member else [])
