"""Sites that were there before a migration: what the register shows of them, and what it no longer does."""

import asyncio
import json

import asyncpg
import pytest

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres

_BEFORE = """
INSERT INTO organisations (id, name, created_at, updated_at) VALUES (gen_random_uuid(), 'o', now(), now());
INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at, updated_at)
SELECT gen_random_uuid(), id, 'Old street', 'street', 'UTC', 1.445317, 43.604589, '2020-01-02', now()
FROM organisations WHERE name = 'o';
INSERT INTO boxes (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at)
SELECT 'old-box', organisation_id, id, 60, false, 'x', now(), now() FROM sites
"""


async def test_a_city_that_was_there_is_in_the_register(postgres: PrivatePostgres) -> None:
    settings = DatabaseSettings(url=await postgres.create_database("before_the_register"))
    await asyncio.to_thread(downgrade, settings, "0024")
    connection = await asyncpg.connect(settings.url)
    await connection.execute(_BEFORE)
    await asyncio.to_thread(upgrade, settings)
    rows = await connection.fetch("SELECT kind, site_name, at::date::text AS day FROM register_changes")
    assert tuple(rows[0]) == ("site_added", "Old street", "2020-01-02")
    # Nobody had decided to publish what migration 0024 published by default.
    assert [row["kind"] for row in rows[1:]] == ["defaults_withdrawn"]
    seen = await connection.fetchrow("SELECT name, precision_m, longitude, latitude FROM public_sites")
    assert seen is not None
    assert tuple(seen)[:2] == ("Old street", 100)
    assert (seen["longitude"], seen["latitude"]) != (1.445317, 43.604589)
    # Cells of finer grids lie within those of coarser ones; the middle of a cell is in it.
    for metres in (1, 10, 100, 1000, 10_000):
        cell = await connection.fetchval("SELECT register_cell(1.445317, 43.604589, $1)", metres)
        again = await connection.fetchval("SELECT register_cell($1, $2, $3)", cell[0], cell[1], metres)
        assert tuple(again) == tuple(cell)
        coarse = await connection.fetchval(
            "SELECT register_cell($1, $2, $3) ~= register_cell(1.445317, 43.604589, $3)",
            *(cell[0], cell[1], metres * 10),
        )
        assert coarse
    for longitude, latitude in ((180, 90), (-180, -90), (0, 0), (179.99999, -89.99999)):
        cell = await connection.fetchval(
            "SELECT register_cell($1, $2, 1000)", float(longitude), float(latitude)
        )
        assert -180 <= cell[0] <= 180
        assert -90 <= cell[1] <= 90
    await connection.close()


_DECLARED = """
UPDATE site_purposes SET legal_basis = 'public_task', open_data = true, declared_kind = 'key',
    declared_by = gen_random_uuid() WHERE purpose = 'noise'
"""
_PURPOSES = """
SELECT purpose, declared_kind, legal_basis, open_data FROM site_purposes ORDER BY purpose
"""


async def test_what_nobody_declared_is_published_no_more_and_what_somebody_did_stays(
    postgres: PrivatePostgres,
) -> None:
    settings = DatabaseSettings(url=await postgres.create_database("declared_only"))
    await asyncio.to_thread(downgrade, settings, "0027")
    connection = await asyncpg.connect(settings.url)
    await connection.execute(_BEFORE)
    await connection.execute(_DECLARED)
    formerly = [tuple(row) for row in await connection.fetch(_PURPOSES)]
    assert ("air_quality", "system", "not_personal_data", True) in formerly
    await asyncio.to_thread(upgrade, settings)
    assert [tuple(row) for row in await connection.fetch(_PURPOSES)] == [
        ("air_quality", "system", None, False),
        ("equipment", "system", None, False),
        ("indoor_comfort", "system", None, False),
        ("noise", "key", "public_task", True),
        ("odour", "system", None, False),
    ]
    origins = await connection.fetch("SELECT purpose, origin FROM public_purposes WHERE in_force")
    assert {row["purpose"] for row in origins if row["origin"] == "operator"} == {"noise"}
    # One line for the site, and none for each purpose.
    (told,) = await connection.fetch(
        "SELECT data::text FROM register_changes WHERE id > (SELECT max(id) FROM register_changes"
        " WHERE kind = 'purpose_changed')"
    )
    assert json.loads(told["data"]) == {"purposes": ["air_quality", "odour"]}
    with pytest.raises(asyncpg.CheckViolationError, match="ck_site_purposes_default"):
        await connection.execute("UPDATE site_purposes SET open_data = true WHERE purpose = 'odour'")
    # A new site claims nothing either.
    await connection.execute(_BEFORE.split(";")[1].replace("Old street", "New street"))
    claimed = await connection.fetchval(
        "SELECT count(*) FROM site_purposes p JOIN sites s ON s.id = p.site_id WHERE s.name = 'New street'"
        " AND p.legal_basis IS NULL AND NOT p.open_data AND p.declared_kind = 'system'"
    )
    assert claimed == 5
    await asyncio.to_thread(downgrade, settings, "0027")
    again = [tuple(row) for row in await connection.fetch(_PURPOSES + " LIMIT 10")]
    assert set(again) == {*formerly, ("noise", "system", "not_personal_data", True)}
    await connection.close()
