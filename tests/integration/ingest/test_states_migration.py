"""Migration 0002 on a database that is in use: box states know how far the samples go."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

import asyncpg

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.advisory_lock_keys import INGEST_BARRIER
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres

ORGANISATION, SITE = uuid.uuid4(), uuid.uuid4()
LATEST = {"pm2_5": [12.5, 1_795_500_000_000_000], "laeq": [60.0, 1_795_500_060_000_001]}


async def test_a_box_goes_as_far_as_the_newest_of_its_values(postgres: PrivatePostgres) -> None:
    settings = DatabaseSettings(url=await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}"))
    await asyncio.to_thread(downgrade, settings, "0001")
    connection = await asyncpg.connect(settings.url)
    await connection.execute("INSERT INTO organisations VALUES ($1, 'o', false, now(), now())", ORGANISATION)
    site = "INSERT INTO sites VALUES ($1, $2, 's', 'street', 'UTC', 1, 2, NULL, 0, now(), now())"
    await connection.execute(site, SITE, ORGANISATION)
    for box, latest in (("used", LATEST), ("new", {})):
        key = await connection.fetchval(
            "INSERT INTO boxes"
            " (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at)"
            " VALUES ($1, $2, $3, 60, true, '$7$', now(), now()) RETURNING key",
            box,
            ORGANISATION,
            SITE,
        )
        state = "INSERT INTO box_states (box_key, latest) VALUES ($1, $2::text::jsonb)"
        await connection.execute(state, key, json.dumps(latest))
    await asyncio.to_thread(upgrade, settings, "0002")
    found = await connection.fetch(
        "SELECT id, latest, newest_us, last_sample_at, samples, late"
        " FROM box_states JOIN boxes ON key = box_key"
    )
    rows = {row["id"]: tuple(row)[1:] for row in found}
    assert json.loads(rows["used"][0]) == LATEST
    newest = datetime.fromtimestamp(1_795_500_060, UTC).replace(microsecond=1)
    assert rows["used"][1:] == (1_795_500_060_000_001, newest, 0, 0)
    assert rows["new"] == ("{}", None, None, 0, 0)
    # Sharing a box stamps it, so that the consumer reads it again.
    before = await connection.fetchval("SELECT version FROM registry")
    async with connection.transaction():
        await connection.execute("SELECT share_boxes(array(SELECT key FROM boxes WHERE id = 'used'), now())")
        held = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
            " AND (classid::bigint << 32) + objid::bigint = $1",
            INGEST_BARRIER,
        )
        assert held == 1
    stamped = await connection.fetch("SELECT id FROM boxes WHERE revision > $1", before)
    assert [row["id"] for row in stamped] == ["used"]
    await connection.close()
    await asyncio.to_thread(downgrade, settings, "0001")
