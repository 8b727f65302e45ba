"""Archives that are not as they were exported: refused, with what is wrong, before anything is stored."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.tenant_transfer.archive_manifest import ArchiveError
from app.tenant_transfer.tenant_import import ImportOptions
from tests.conftest import Tenant
from tests.integration.tenant_transfer.archives import export_to, import_from


@pytest.fixture
async def archive(tenant: Tenant, site_id: str, database_url: str, folder: Path) -> Path:
    """The archive of a tenant with a box and a sample, as a folder."""
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    sample = {"time": "2026-01-02T03:04:05Z", "values": {"pm2_5": 31.2}}
    answer = await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]})
    answer.raise_for_status()
    await export_to(database_url, UUID(tenant.id), folder / "archive")
    return folder / "archive"


def _rewrite(
    archive: Path, path: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    """Change rows of a file, with a manifest that fits."""
    rows = change([json.loads(line) for line in (archive / path).read_text().splitlines()])
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (archive / path).write_bytes(content)
    manifest = json.loads((archive / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == path:
            digest = hashlib.sha256(content).hexdigest()
            file.update(bytes=len(content), sha256=digest, rows=len(rows))
    (archive / "manifest.json").write_text(json.dumps(manifest))


def _replace(archive: Path, path: str, *rows: dict[str, Any]) -> None:
    _rewrite(archive, path, lambda _: list(rows))


async def _refused(archive: Path, url: str) -> str:
    with pytest.raises(ArchiveError) as refused:
        await import_from(url, archive, archive.parent / "credentials.csv")
    connection = await asyncpg.connect(url, server_settings={"vigie.reach": "all"})
    assert await connection.fetchval("SELECT count(*) FROM boxes WHERE id = 'box-1'") == 0
    await connection.close()
    return str(refused.value)


async def test_one_changed_byte_is_found(archive: Path, second_url: str) -> None:
    path = archive / "samples" / "samples-00001.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert "samples/samples-00001.parquet: size or checksum differ" in await _refused(archive, second_url)


async def test_a_missing_file_is_named(archive: Path, second_url: str) -> None:
    (archive / "tables" / "rules.jsonl").unlink()
    assert "tables/rules.jsonl is missing in the archive" in await _refused(archive, second_url)


async def test_an_altered_audit_log_is_found_by_its_chain(archive: Path, second_url: str) -> None:
    def alter(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0]["record"] = rows[0]["record"].replace("created", "deleted")
        return rows

    _rewrite(archive, "audit/log.ndjson", alter)
    assert "altered at position 1" in await _refused(archive, second_url)


async def test_an_archive_of_a_newer_program_is_refused(archive: Path, second_url: str) -> None:
    manifest = json.loads((archive / "manifest.json").read_text())
    manifest["schema_revision"] = "9999"
    (archive / "manifest.json").write_text(json.dumps(manifest))
    assert "newer than this database's" in await _refused(archive, second_url)
    manifest |= {"schema_revision": "0048", "format_version": 2}
    (archive / "manifest.json").write_text(json.dumps(manifest))
    assert "Upgrade Vigie" in await _refused(archive, second_url)


async def test_an_archive_cannot_attach_anything_to_a_site_of_another_tenant(
    archive: Path, second_url: str
) -> None:
    connection = await asyncpg.connect(second_url, server_settings={"vigie.reach": "all"})
    await connection.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at)"
        " VALUES ('01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d', 'Victim', now(), now())"
    )
    await connection.execute(
        "INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at,"
        " updated_at) VALUES ('01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0e', '01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d',"
        " 'Victim', 'street', 'UTC', 1, 1, now(), now())"
    )
    await connection.execute("DELETE FROM site_purposes")
    await connection.close()

    def steal(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "site_id": "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0e"} for row in rows]

    _rewrite(archive, "tables/site_purposes.jsonl", steal)
    assert "refer by site_id to sites of another tenant" in await _refused(archive, second_url)


async def test_an_archive_cannot_take_over_an_account_of_the_broker(archive: Path, second_url: str) -> None:
    box = json.loads((archive / "tables/boxes.jsonl").read_text())
    for name in ("gateway", "ingest", "vigie-ingest"):
        _replace(archive, "tables/boxes.jsonl", {**box, "id": name})
        refused = await _refused(archive, second_url)
        assert "tables/boxes.jsonl, line 1: the broker has an account of Vigie with this name" in refused


async def test_an_archive_cannot_bring_a_time_zone_or_a_rule_at_which_a_process_of_all_tenants_would_fail(
    archive: Path, second_url: str
) -> None:
    nested: dict[str, Any] = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    for _ in range(40):
        nested = {"not": nested}
    definitions: list[Any] = [{}, [], {"levels": [{"severity": "info", "condition": nested}]}]
    for definition in definitions:
        rule = {"id": "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0e", "enabled": True, "definition": definition}
        _replace(archive, "tables/rules.jsonl", rule)
        assert "tables/rules.jsonl, line 1: " in await _refused(archive, second_url)
    _replace(archive, "tables/rules.jsonl")
    _rewrite(archive, "tables/sites.jsonl", lambda rows: [{**rows[0], "timezone": "Europe/Atlantis"}])
    assert "tables/sites.jsonl, line 1: " in await _refused(archive, second_url)


async def test_an_integrator_cannot_be_put_below_another_one(archive: Path, second_url: str) -> None:
    parent = UUID("01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d")
    connection = await asyncpg.connect(second_url, server_settings={"vigie.reach": "all"})
    await connection.execute(
        "INSERT INTO organisations (id, name, kind, created_at, updated_at)"
        " VALUES ($1, 'Victim', 'integrator', now(), now())",
        parent,
    )
    await connection.close()
    row = json.loads((archive / "tables/organisations.jsonl").read_text())
    _replace(archive, "tables/organisations.jsonl", {**row, "kind": "integrator"})
    options = ImportOptions(parent=parent)
    with pytest.raises(ArchiveError, match="is of an integrator"):
        await import_from(second_url, archive, archive.parent / "credentials.csv", options)


async def test_an_archive_cannot_make_members_of_people_that_it_does_not_have(
    archive: Path, second_url: str
) -> None:
    connection = await asyncpg.connect(second_url, server_settings={"vigie.reach": "all"})
    await connection.execute(
        "INSERT INTO users (id, email, name, locale, created_at, updated_at) VALUES"
        " ('01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d', 'victim@example.com', 'Victim', 'en', now(), now())"
    )
    await connection.close()
    member = {
        "id": "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0f",
        "user_id": "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d",
        "role": "viewer",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
    }
    _replace(archive, "tables/memberships.jsonl", member)
    assert "a row of memberships cannot be stored" in await _refused(archive, second_url)


async def test_damaged_bytes_of_a_zip_file_are_found(
    tenant: Tenant, database_url: str, second_url: str, folder: Path
) -> None:
    await export_to(database_url, UUID(tenant.id), folder / "client.zip")
    with zipfile.ZipFile(folder / "client.zip") as opened:
        place = opened.getinfo("tables/organisations.jsonl").header_offset + 80
    content = bytearray((folder / "client.zip").read_bytes())
    content[place : place + 40] = bytes(range(200, 240))
    (folder / "client.zip").write_bytes(content)
    assert "organisations.jsonl: size or checksum differ" in await _refused(folder / "client.zip", second_url)


async def test_a_folder_that_is_no_archive_is_refused(folder: Path, second_url: str) -> None:
    assert "is not an archive of a tenant" in await _refused(folder, second_url)
    (folder / "manifest.json").write_text("{}")
    assert "is not the manifest" in await _refused(folder, second_url)


async def test_a_manifest_without_bounds_is_not_read(folder: Path, second_url: str) -> None:
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", b" " * ((64 << 20) + 1))
    assert "manifest.json is too large" in await _refused(folder / "bomb.zip", second_url)


async def test_an_interrupted_export_leaves_no_archive(
    tenant: Tenant, database_url: str, folder: Path
) -> None:
    target = folder / "archive.zip"
    (folder / "archive.zip.partial").write_bytes(b"what was left")
    await export_to(database_url, UUID(tenant.id), target)
    assert _names(folder) == ["archive.zip"]
    with pytest.raises(ArchiveError, match="exists"):
        await export_to(database_url, UUID(tenant.id), target)
    with pytest.raises(ArchiveError, match="no organisation"):
        await export_to(database_url, UUID(int=7), folder / "other.zip")
    assert _names(folder) == ["archive.zip"]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
