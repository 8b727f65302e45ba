"""Measures what reads on a standby spare the primary: `python -m bench.standby_reads`.

The API runs in this process, the primary and its standby beside it. All share the machine: CPU time counts.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from fastapi import FastAPI

from app.platform.db.schema_upgrade import upgrade
from app.platform.db.standby_reads import StandbyReads
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.secret_tokens import generate_key
from app.processes.api_application import create_app
from app.settings import VigieSettings
from app.standalone.private_postgres import PrivatePostgres
from bench.measure import CpuReading
from bench.results import percentile
from bench.standby import run_standby

BOX: Final = "bench-box"
_KEY: Final = generate_key()
_NOW: Final = datetime.now(UTC).replace(microsecond=0)
_DAYS: Final = 30
_REPLICATING: Final = {
    "wal_level": "'replica'",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "synchronous_commit": "on",
}
_FILL: Final = """
INSERT INTO samples (box_key, time, pm2_5, pm10, no2, o3, temperature, laeq)
SELECT b.key, $1::timestamptz - n * interval '1 minute', n % 11, n % 17, n % 41, n % 71, n % 30, 40 + n % 31
FROM boxes b, generate_series(1, $2::int) AS n WHERE b.id = 'bench-box'
"""
_WEEK: Final = {"from": (_NOW - timedelta(days=7)).isoformat(), "to": _NOW.isoformat()}
_READINGS: Final = f"/v1/boxes/{BOX}/readings"
_RATES: Final = (
    *("rate_per_s", "rate_burst", "telemetry_rate_per_s", "telemetry_rate_burst"),
    *("organisation_rate_per_s", "organisation_rate_burst"),
    *("organisation_telemetry_rate_per_s", "organisation_telemetry_rate_burst"),
)
_CASES: Final = {
    "1,000 raw points": (_READINGS, {"metric": "pm2_5", **_WEEK}, 100),
    "buckets of 15 min over 7 days": (_READINGS, {"metric": "pm2_5", "bucket": "15m", **_WEEK}, 60),
    "export of 10,080 samples": ("/v1/readings/export", {"metric": "pm2_5", **_WEEK}, 30),
}


@asynccontextmanager
async def _serve(url: str, *, standby_reads: bool) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    database = {"url": url, "standby_reads": standby_reads}
    unlimited = dict.fromkeys(_RATES, 100000)
    app = create_app(
        VigieSettings.model_validate({"database": database, "bootstrap_admin_key": _KEY, "api": unlimited})
    )
    headers = {"Authorization": f"Bearer {_KEY}"}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://bench", headers=headers, timeout=60
        ) as client,
    ):
        yield app, client


async def _fill(url: str, client: httpx.AsyncClient) -> None:
    place = {"type": "Point", "coordinates": [1.4453, 43.6045]}
    site = {"name": "Street", "kind": "street", "timezone": "Europe/Paris", "location": place}
    made = (await client.post("/v1/sites", json=site)).raise_for_status().json()["id"]
    (await client.post("/v1/boxes", json={"id": BOX, "site_id": made})).raise_for_status()
    owner = await asyncpg.connect(url)
    await owner.execute(_FILL, _NOW, _DAYS * 1_440)
    await owner.execute("ANALYZE samples")
    await owner.close()


async def _write(client: httpx.AsyncClient) -> None:
    """Store a sample fifty times a second."""
    second = 0
    while True:
        second += 1
        sample = {"time": (_NOW + timedelta(milliseconds=second)).isoformat(), "values": {"pm10": 1.0}}
        (await client.post("/v1/telemetry", json={"box": BOX, "samples": [sample]})).raise_for_status()
        await asyncio.sleep(0.02)


async def _measure(
    app: FastAPI, client: httpx.AsyncClient, name: str, pids: dict[str, int]
) -> dict[str, object]:
    path, params, calls = _CASES[name]
    for _ in range(10):
        (await client.get(path, params=params)).raise_for_status()
    state = get_resource(app, StandbyReads).state
    before, took, own = CpuReading.now(pids), [], time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        (await client.get(path, params=params)).raise_for_status()
        took.append(time.perf_counter() - began)
    cpu = CpuReading.now(pids).since(before)
    after = get_resource(app, StandbyReads).state
    return {
        **{f"{each}_cpu_ms": round(1000 * seconds / calls, 2) for each, seconds in cpu.items()},
        "api_cpu_ms": round(1000 * (time.process_time() - own) / calls, 2),
        "p50_ms": round(1000 * percentile(took, 0.5), 2),
        "p99_ms": round(1000 * percentile(took, 0.99), 2),
        "standby_reads": after.standby_count - state.standby_count,
        "fallbacks": sum(after.fallbacks.values()) - sum(state.fallbacks.values()),
    }


async def _measure_all(url: str, pids: dict[str, int]) -> None:
    for writes in (False, True):
        for name in _CASES:
            for standby_reads in (False, True, False, True):
                async with _serve(url, standby_reads=standby_reads) as (app, client):
                    task = asyncio.create_task(_write(client)) if writes else None
                    found = await _measure(app, client, name, pids)
                    if task is not None:
                        task.cancel()
                        with suppress(asyncio.CancelledError):
                            await task
                print(json.dumps({"case": name, "writes": writes, "on": standby_reads, **found}), flush=True)


async def main() -> None:
    """Run all cases, each with and without reads on the standby, and print a line of JSON for each run."""
    with tempfile.TemporaryDirectory() as folder:
        async with PrivatePostgres(Path(folder), durable=False, archive=_REPLICATING) as primary:
            await asyncio.to_thread(
                upgrade, VigieSettings.model_validate({"database": {"url": primary.url}}).database
            )
            async with _serve(primary.url, standby_reads=False) as (_, client):
                await _fill(primary.url, client)
            async with run_standby(primary) as (port, pid):
                url = primary.url.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{port}/")
                await _measure_all(url, {"primary": primary.pid, "standby": pid})


if __name__ == "__main__":
    asyncio.run(main())
