"""Migration 0024 on a database that is in use: sites go on as they were, but for what needs an approval."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.schema_upgrade import downgrade, upgrade
from app.standalone.private_postgres import PrivatePostgres
from tests.purposes import approve

HEARD = datetime(2026, 11, 1, tzinfo=UTC)


async def test_sites_have_the_environmental_ones_and_keep_their_events(postgres: PrivatePostgres) -> None:
    settings = DatabaseSettings(url=await postgres.create_database(f"migrate_{uuid.uuid4().hex[:8]}"))
    await asyncio.to_thread(downgrade, settings, "0023")
    connection = await asyncpg.connect(settings.url)
    owner, site = uuid.uuid4(), uuid.uuid4()
    await connection.execute(
        "INSERT INTO organisations (id, name, platform, created_at, updated_at)"
        " VALUES ($1, 'o', false, now(), now())",
        owner,
    )
    await connection.execute(
        "INSERT INTO sites (id, organisation_id, name, kind, timezone, longitude, latitude, created_at,"
        " updated_at) VALUES ($1, $2, 's', 'street', 'UTC', 1, 2, now(), now())",
        *(site, owner),
    )
    key = await connection.fetchval(
        "INSERT INTO boxes (id, organisation_id, site_id, interval_s, ack, password_hash, created_at,"
        " updated_at) VALUES ('b', $1, $2, 60, true, '$7$', now(), now()) RETURNING key",
        *(owner, site),
    )
    # Of a type that is in no catalogue now, too.
    for kind in ("gunshot", "whistle"):
        await connection.execute(
            "INSERT INTO events (id, box_key, organisation_id, time, type, candidates, received_at)"
            " VALUES ($1, $2, $3, $4, $5, '[]', now())",
            *(uuid.uuid4(), key, owner, HEARD, kind),
        )
    await asyncio.to_thread(upgrade, settings)

    rows = await connection.fetch(
        "SELECT purpose, ends_at, sensitive FROM site_purposes WHERE site_id = $1", site
    )
    assert {row["purpose"] for row in rows} == {
        *("air_quality", "noise", "indoor_comfort", "odour", "equipment")
    }
    assert not any(row["ends_at"] or row["sensitive"] for row in rows)
    assert await connection.fetchval("SELECT count(*) FROM events") == 2

    pipeline = IngestPipeline(RegistryCache())

    async def send() -> list[str]:
        """A sample and a gunshot; gives the codes of what is refused."""
        now = datetime.now(UTC)
        time = (now - timedelta(seconds=1)).isoformat()
        bodies = {
            "telemetry": {"time": time, "values": {"pm2_5": 1.0, "laeq": 50.0, "odour": 1.0, "battery": 1.0}},
            "event": {"time": time, "type": "gunshot"},
        }
        intake = decode_batch(
            [f"vigie/v1/b/{kind}" for kind in bodies],
            [json.dumps(body).encode() for body in bodies.values()],
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=0,
        )
        receipt = await pipeline.commit(connection, intake, now=now)
        assert (receipt.stored, receipt.withheld) == (1, [])
        return [refusal.rejection.code for refusal in receipt.rejections]

    assert await send() == ["purpose_not_declared"]
    await approve(connection, site)
    assert await send() == []
    await asyncio.to_thread(downgrade, settings, "0023")
    assert await connection.fetchval("SELECT count(*) FROM events") == 3
    await asyncio.to_thread(upgrade, settings)
    await connection.close()
