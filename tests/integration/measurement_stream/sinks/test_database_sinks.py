"""Measurements in another PostgreSQL, and in VictoriaMetrics by line protocol and by remote write."""

import asyncio
import json
import urllib.parse
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from app.measurement_stream.sinks.postgresql_sink import PostgresqlSink
from app.measurement_stream.sinks.sink_types import SinkConfig
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant
from tests.integration.measurement_stream.conftest import NOW, send
from tests.integration.measurement_stream.receiving_servers import Server, postgresql_sink, read_victoria
from tests.integration.measurement_stream.sinks.conftest import ONE, make_batch
from tests.integration.measurement_stream.subscribing import (
    act,
    eventually,
    list_batches,
    read_subscription,
    serving,
    subscribe,
    until_sent,
)


async def test_rows_of_a_table_are_written_once(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], postgres: PrivatePostgres
) -> None:
    url = await postgres.create_database("receiving")
    there = await asyncpg.connect(url)
    async with serving(settings):
        made = await subscribe(
            tenant,
            postgresql_sink(url, table='air "quality"'),
            filter={"metrics": ["pm2_5", "laeq"], "kinds": ["sample", "correction"]},
        )
        assert made["sink"]["table"] == 'air "quality"'
        assert made["secrets"] == ["password"]
        for number in range(3):
            await send(tenant, boxes[0], (number, {"pm2_5": number + 0.5, "temperature": 20}), seq=number)
        await send(tenant, boxes[1], (0, {"laeq": 50.25}))
        await until_sent(tenant, made["id"], 4)
        # Everything again: the rows exist.
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await until_sent(tenant, made["id"], 8)
        # Another metric: the table gets its column.
        change = {"filter": {"metrics": ["pm2_5", "humidity"]}}
        answer = await tenant.client.patch(f"/v1/measurement-subscriptions/{made['id']}", json=change)
        assert answer.status_code == 200, answer.text
        await send(tenant, boxes[0], (9, {"humidity": 41, "laeq": 50}))
        await until_sent(tenant, made["id"], 9)
    rows = await there.fetch('SELECT * FROM "air ""quality""" ORDER BY time, box, id')
    assert [(row["box"], row["pm2_5"], row["laeq"], row["seq"]) for row in rows] == [
        (boxes[0], 0.5, None, 0),
        (boxes[1], None, 50.25, None),
        (boxes[0], 1.5, None, 1),
        (boxes[0], 2.5, None, 2),
        (boxes[0], None, None, None),
    ]
    assert [row["humidity"] for row in rows] == [None, None, None, None, 41]
    assert rows[0]["time"] == NOW
    assert {row["kind"] for row in rows} == {"sample"}
    assert str(rows[0]["organisation_id"]) == tenant.id
    await there.close()


async def test_the_table_can_be_a_hypertable(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], postgres: PrivatePostgres
) -> None:
    url = await postgres.create_database("receiving_hypertable")
    there = await asyncpg.connect(url)
    await there.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    async with serving(settings):
        made = await subscribe(tenant, postgresql_sink(url))
        await act(tenant, made["id"], "test")

        async def exists() -> object:
            return await there.fetchval("SELECT to_regclass('vigie_measurements')")

        await eventually(exists)
        await there.execute("SELECT create_hypertable('vigie_measurements', 'time')")
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))
        await until_sent(tenant, made["id"], 1)
        # A row that exists is updated in a hypertable too.
        await there.execute("UPDATE vigie_measurements SET pm2_5 = NULL")
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await until_sent(tenant, made["id"], 2)
    assert await there.fetchval("SELECT array_agg(pm2_5) FROM vigie_measurements") == [1]
    assert await there.fetchval("SELECT count(*) FROM show_chunks('vigie_measurements')") == 1
    await there.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"database": "nowhere"}, "refused"), ({"server": "127.0.0.1:1"}, "connect_failed")],
)
async def test_what_the_database_says_is_shown(  # noqa: PLR0917 (fixtures)
    settings: VigieSettings,
    tenant: Tenant,
    boxes: list[str],
    postgres: PrivatePostgres,
    change: dict[str, str],
    reason: str,
) -> None:
    async with serving(settings):
        made = await subscribe(tenant, postgresql_sink(postgres.url, **change))
        await send(tenant, boxes[0], (0, {"pm2_5": 1}))

        async def failed() -> dict[str, Any] | None:
            shown = await read_subscription(tenant, made["id"])
            return shown if shown["health"]["last_reason"] else None

        shown = await eventually(failed)
    assert shown is not None
    assert shown["health"]["last_reason"] == reason
    assert shown["health"]["last_detail"]
    [batch] = await list_batches(tenant, made["id"])
    assert (batch["state"], batch["attempts"][0]["reason"]) == ("pending", reason)


def make_postgresql_sink(url: str, metrics: tuple[str, ...], **more: str) -> PostgresqlSink:
    target = {"schema_name": "public", "table": "vigie_measurements", **postgresql_sink(url), **more}
    secrets = {"password": target["password"]}
    config = SinkConfig(ONE, ONE, "postgresql", None, False, metrics, target, secrets)
    return PostgresqlSink(config, 10, allow_private=True)


async def test_a_row_gets_what_it_lacks_and_what_has_changed(postgres: PrivatePostgres) -> None:
    url = await postgres.create_database("receiving_parts")
    air, noise = make_postgresql_sink(url, ("pm2_5",)), make_postgresql_sink(url, ("laeq",))
    there = await asyncpg.connect(url)
    batch = make_batch(pm2_5=1.5, laeq=50)
    [sample] = batch.items
    hour = replace(sample, position=2, kind="hour")

    async def write(sink: PostgresqlSink, late: tuple[str, ...], **values: float) -> None:
        detail = {"version": 2, "metrics": {name: {"max": value} for name, value in values.items()}}
        items = [
            replace(sample, values=values, late=late, seq=7),
            replace(hour, values=values, detail=detail),
        ]
        outcome = await sink.send(replace(batch, items=items), NOW)
        assert outcome.delivered, outcome.body

    async def read() -> list[asyncpg.Record]:
        return await there.fetch("SELECT xmin, * FROM vigie_measurements ORDER BY id")

    # Two subscriptions with different metrics write one table.
    await write(air, ("pm2_5",), pm2_5=1.5)
    await write(noise, ("laeq",), laeq=50)
    rows = await read()
    assert [(row["pm2_5"], row["laeq"]) for row in rows] == [(1.5, 50), (1.5, 50)]
    assert (rows[0]["late"], rows[0]["seq"]) == (["pm2_5", "laeq"], 7)
    assert json.loads(rows[1]["detail"]) == {
        "version": 2,
        "metrics": {"pm2_5": {"max": 1.5}, "laeq": {"max": 50}},
    }
    # What is repeated changes nothing, not even the version of a row.
    await write(air, ("pm2_5",), pm2_5=1.5)
    assert await read() == rows
    # The newest value wins.
    await write(air, ("pm2_5",), pm2_5=2.5)
    assert [(row["pm2_5"], row["laeq"]) for row in await read()] == [(2.5, 50), (2.5, 50)]
    for sink in (air, noise):
        await sink.close()
    await there.close()


async def test_an_attempt_ends_at_a_database_that_hangs(postgres: PrivatePostgres) -> None:
    """It hangs at the INSERT, and does not answer the request to cancel it either."""
    url = await postgres.create_database("receiving_hanging")
    parts = urllib.parse.urlsplit(url)
    is_hanging = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"INSERT INTO" in data:
                is_hanging.set()
            if not is_hanging.is_set():
                writer.write(data)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(parts.hostname, parts.port)
        writers.extend((writer, behind[1]))
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer), return_exceptions=True)

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        sink = make_postgresql_sink(url, ("pm2_5",), server=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        # A deadline cancels an attempt in the same way.
        sink.timeout_s = 600
        task = asyncio.create_task(sink.send(make_batch(pm2_5=1), NOW))
        async with asyncio.timeout(60):
            await is_hanging.wait()
        task.cancel()
        await asyncio.wait((task,), timeout=60)
        was_over = task.done()
        for writer in writers:
            writer.close()
        assert was_over
        assert task.cancelled()
        server.close()


async def test_a_refused_row_is_not_shown(postgres: PrivatePostgres) -> None:
    url = await postgres.create_database("receiving_checked")
    sink = make_postgresql_sink(url, ("pm2_5",))
    first = await sink.send(make_batch(pm2_5=1), NOW)
    assert first.reason == "delivered", first.body
    there = await asyncpg.connect(url)
    await there.execute("ALTER TABLE vigie_measurements ADD CONSTRAINT low CHECK (pm2_5 < 100)")
    refused = await sink.send(make_batch(pm2_5=123.25), NOW)
    await sink.close()
    await there.close()
    assert refused.reason == "refused"
    assert refused.body is not None
    assert refused.body.startswith("23514: ")
    assert "low" in refused.body
    assert "123.25" not in refused.body


async def test_a_connection_needs_no_lock_that_excludes_readers(postgres: PrivatePostgres) -> None:
    url = await postgres.create_database("receiving_read")
    sinks = [make_postgresql_sink(url, metrics) for metrics in (("pm2_5",), ("pm2_5",), ("pm2_5", "laeq"))]
    there = await asyncpg.connect(url)
    assert (await sinks[0].send(make_batch(pm2_5=1), NOW)).reason == "delivered"
    async with there.transaction():
        await there.execute("SELECT FROM vigie_measurements")
        assert (await sinks[1].send(make_batch(pm2_5=2), NOW)).reason == "delivered"
        # A new column needs the lock: the sink gives up before its timeout.
        locked = await sinks[2].send(make_batch(laeq=3), NOW)
        assert (locked.reason, str(locked.body)[:5]) == ("refused", "55P03")
    assert (await sinks[2].send(make_batch(laeq=3), NOW)).reason == "delivered"
    for sink in sinks:
        await sink.close()
    await there.close()


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_victoriametrics_takes_lines(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], victoria: Server, *, is_compressed: bool
) -> None:
    name = f"lines{is_compressed:d}"
    url = f"http://{victoria.address}/write"
    async with serving(settings):
        made = await subscribe(
            tenant, {"kind": "influxdb", "url": url, "measurement": name}, gzip=is_compressed
        )
        for number in range(3):
            await send(tenant, boxes[0], (number, {"pm2_5": number + 0.5, "laeq": 50}))
        await send(tenant, boxes[0], (-30, {"pm2_5": 9}))
        await until_sent(tenant, made["id"], 4)
        # A repeated point replaces itself.
        await act(tenant, made["id"], "rewind", {"time": "2026-01-01T00:00:00Z"})
        await until_sent(tenant, made["id"], 8)
        test = await act(tenant, made["id"], "test")
        await eventually(lambda: _is_delivered(tenant, test["id"]))
    start = round(NOW.timestamp() * 1000)
    series = {
        each["metric"]["__name__"]: each for each in read_victoria(victoria, f'{{__name__=~"{name}_.*"}}')
    }
    fine = series[f"{name}_pm2_5"]
    assert fine["metric"]["box"] == boxes[0]
    assert fine["metric"]["organisation"] == tenant.id
    points = sorted(set(zip(fine["timestamps"], fine["values"], strict=True)))
    assert points == [(start - 30_000, 9), (start, 0.5), (start + 1000, 1.5), (start + 2000, 2.5)]
    assert set(series[f"{name}_laeq"]["values"]) == {50}


async def _is_delivered(tenant: Tenant, batch: str) -> bool:
    shown = (await tenant.client.get(f"/v1/measurement-batches/{batch}")).json()
    return bool(shown["state"] == "delivered")


async def test_victoriametrics_takes_the_latest_values_by_remote_write(
    settings: VigieSettings, tenant: Tenant, boxes: list[str], victoria: Server
) -> None:
    url = f"http://{victoria.address}/api/v1/write"
    async with serving(settings):
        made = await subscribe(tenant, {"kind": "prometheus", "url": url})
        await send(tenant, boxes[2], (0, {"pm2_5": 1}), (1, {"pm2_5": 2.5, "laeq": 51}))
        await until_sent(tenant, made["id"], 2)
        # Late values alone need no request.
        await send(tenant, boxes[2], (-30, {"pm2_5": 9}))
        await until_sent(tenant, made["id"], 3)
        test = await act(tenant, made["id"], "test")
        await eventually(lambda: _is_delivered(tenant, test["id"]))
    found = {
        each["metric"]["__name__"]: dict(zip(each["timestamps"], each["values"], strict=True))
        for each in read_victoria(victoria, f'{{box="{boxes[2]}", organisation="{tenant.id}"}}')
    }
    start = round(NOW.timestamp() * 1000)
    assert found == {"vigie_pm2_5": {start + 1000: 2.5}, "vigie_laeq": {start + 1000: 51}}
