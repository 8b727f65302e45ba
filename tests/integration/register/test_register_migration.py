"""Sites that were there before the register: shown to 100 m, and their history begins with them."""

import asyncio

import asyncpg

from app.core.migrate import downgrade, upgrade
from app.core.settings import DatabaseSettings
from app.embedded.postgres import PrivatePostgres

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
    assert [tuple(row) for row in rows] == [("site_added", "Old street", "2020-01-02")]
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
