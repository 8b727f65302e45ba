"""What `vigie doctor` says of the edition of TimescaleDB, and of chunks that somebody compressed."""

import asyncio

import asyncpg

from app.platform.config.platform_settings import DatabaseSettings
from app.standalone import doctor_database
from app.standalone.doctor import DoctorFinding
from app.standalone.private_postgres import PrivatePostgres


async def found(url: str) -> list[DoctorFinding]:
    settings = DatabaseSettings.model_validate({"url": url})
    return await asyncio.to_thread(lambda: list(doctor_database.examine_chunks(settings)))


async def test_chunks_that_are_compressed_are_told(postgres: PrivatePostgres, database_url: str) -> None:
    (finding,) = await found(database_url)
    assert (finding.state, finding.subject) == ("ok", "TimescaleDB")
    assert "edition apache: chunks are not compressed" in finding.detail
    address = postgres.superuser_url.rpartition("/")[0] + "/" + database_url.rpartition("/")[2]
    administrator = await asyncpg.connect(address)
    # What another edition leaves behind: the catalogue says so, and the chunk itself is empty.
    await administrator.execute("INSERT INTO samples (box_key, time, pm2_5) VALUES (1, '2026-03-01Z', 1)")
    ((chunk, table),) = await administrator.fetch(
        "UPDATE _timescaledb_catalog.chunk c SET status = 1 FROM _timescaledb_catalog.hypertable h"
        " WHERE h.id = c.hypertable_id AND h.table_name = 'samples'"
        " RETURNING c.id, c.schema_name || '.' || c.table_name"
    )
    await administrator.execute(f"TRUNCATE {table}")
    try:
        assert await administrator.fetchval("SELECT count(*) FROM samples") == 0
        (finding,) = await found(database_url)
        assert (finding.state, finding.detail.partition(":")[0]) == ("missing", "1 chunks are compressed")
        assert "decompress_chunk" in finding.fix
    finally:
        await administrator.execute("UPDATE _timescaledb_catalog.chunk SET status = 0 WHERE id = $1", chunk)
        await administrator.close()
    assert [each.state for each in await found(database_url)] == ["ok"]


async def test_where_there_is_no_timescaledb_nothing_is_said(postgres: PrivatePostgres) -> None:
    address = postgres.superuser_url.rpartition("/")[0]
    administrator = await asyncpg.connect(postgres.superuser_url)
    await administrator.execute("CREATE DATABASE plain TEMPLATE template0")
    try:
        assert await found(f"{address}/plain") == []
        assert await found(f"{address}/missing") == []
    finally:
        await administrator.execute("DROP DATABASE plain WITH (FORCE)")
        await administrator.close()
