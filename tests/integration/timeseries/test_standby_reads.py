"""What the API answers from a real standby: series, exports and the public register, never out of date."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from app.platform.db.standby_reads import StandbyReads
from app.platform.kernel.application_resources import get_resource
from app.public_register.register_context import RegisterContext
from app.settings import VigieSettings
from app.timeseries.erasure.worker import ErasureWorker
from tests.conftest import STREET, Tenant, client_of, new_application, new_tenant, running
from tests.replication import ReplicatedPostgres, run_replicated
from tests.scenarios.processes import until

BOX = "street-box"
NOW = datetime.now(UTC).replace(microsecond=0)
_PAUSE = "SELECT pg_wal_replay_pause()"
_RESUME = "SELECT pg_wal_replay_resume()"


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedPostgres]:
    async with run_replicated(tmp_path_factory.mktemp("replicated")) as made:
        yield made


@dataclass
class City:
    """The API with two processes, a tenant with a box, and the counts of reads.

    Attributes:
        writer: The application of another process.
    """

    app: FastAPI
    admin: httpx.AsyncClient
    public: httpx.AsyncClient
    tenant: Tenant
    writer: httpx.AsyncClient
    site: str
    replicated: ReplicatedPostgres
    settings: VigieSettings

    @property
    def answered(self) -> int:
        return get_resource(self.app, StandbyReads).state.standby_count

    async def send(self, second: int, value: float) -> None:
        """Store a sample by the other process."""
        sample = {"time": (NOW + timedelta(seconds=second - 600)).isoformat(), "values": {"pm2_5": value}}
        answer = await self.writer.post("/v1/telemetry", json={"box": BOX, "samples": [sample]})
        assert answer.raise_for_status().json()["stored"] == 1

    async def get(self, path: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
        answer = await self.tenant.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def values(self) -> list[float]:
        series = await self.get(f"/v1/boxes/{BOX}/readings", metric="pm2_5")
        return [point["value"] for point in series["points"]]

    async def exported(self) -> list[float]:
        answer = await self.tenant.client.get(
            "/v1/readings/export", params={"format": "ndjson", "metric": "pm2_5"}
        )
        lines = answer.raise_for_status().text.splitlines()
        return [json.loads(line)["values"]["pm2_5"] for line in lines]

    async def registered(self) -> Any:  # noqa: ANN401 (JSON)
        """The site in the register, past its cache of some seconds."""
        for name in ("cache", "open_data_cache"):
            getattr(get_resource(self.app, RegisterContext), name)._entries.clear()
        return (await self.public.get(f"/public/sites/{self.site}/register.json")).raise_for_status().json()

    @asynccontextmanager
    async def paused_replay(self) -> AsyncIterator[None]:
        await self.replicated.fetch_at(self.replicated.standby_url, _PAUSE)
        try:
            yield
        finally:
            await self.replicated.fetch_at(self.replicated.standby_url, _RESUME)


@pytest.fixture
async def city(replicated: ReplicatedPostgres, admin_key: str) -> AsyncIterator[City]:
    await replicated.execute("TRUNCATE organisations CASCADE", "TRUNCATE samples")
    database = {"url": replicated.url_of("vigie_api"), "standby_reads": True}
    settings = VigieSettings.model_validate({"database": database, "bootstrap_admin_key": admin_key})
    async with (
        running(new_application(settings)) as app,
        running(new_application(settings)) as other,
        client_of(app, admin_key) as admin,
        new_tenant(app, admin, "Tenant") as tenant,
        client_of(app, None) as public,
        client_of(other, tenant.key) as writer,
    ):
        site = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
        (await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site})).raise_for_status()
        made = City(app, admin, public, tenant, writer, site, replicated, settings)

        async def answers() -> bool:
            await made.values()
            return made.answered > 0

        await until(answers)
        yield made


async def test_series_and_exports_show_what_another_process_stored_just_before(city: City) -> None:
    before, stored = city.answered, []
    for second in range(25):
        await city.send(second, float(second))
        stored.append(float(second))
        assert await city.values() == stored
        assert await city.exported() == stored
    several = await city.get("/v1/readings", box=BOX, metric="pm2_5")
    assert [point["value"] for point in several["data"][0]["points"]] == stored
    span = {"from": (NOW - timedelta(hours=1)).isoformat(), "to": NOW.isoformat()}
    (bucket,) = (await city.get(f"/v1/boxes/{BOX}/readings", metric="pm2_5", bucket="1d", **span))["points"]
    assert (bucket["count"], bucket["max"]) == (25, 24.0)
    compared = await city.get("/v1/readings/comparison", box=BOX, metric="pm2_5", **span)
    assert compared["data"][0]["period"]["count"] == 25
    parts = await city.get("/v1/readings/export/parts", box=BOX, metric="pm2_5", rows_per_part="1000", **span)
    assert [part["rows"] for part in parts["data"]] == [25]
    assert city.answered - before >= 50, get_resource(city.app, StandbyReads).state
    # The export is in the audit log, which only the primary can write.
    log = await city.get("/v1/audit", action="readings.read")
    assert len(log["data"]) == 25


async def test_a_late_standby_shows_nothing_and_is_counted(city: City) -> None:
    await city.send(0, 1.0)
    async with city.paused_replay():
        await city.send(1, 2.0)
        before = city.answered
        assert await city.values() == [1.0, 2.0]
        assert await city.exported() == [1.0, 2.0]
        assert city.answered == before
        answer = (await city.admin.get("/v1/cluster")).raise_for_status().json()["standby_reads"]
        assert answer["enabled"]
        assert answer["fault"] == "lag"
        assert answer["host"] == f"127.0.0.1:{city.replicated.standby_port}"
        assert answer["fallbacks"]["lag"] >= 2
        assert answer["primary_count"] == sum(answer["fallbacks"].values())
        assert answer["standby_count"] == before

    async def answered() -> bool:
        assert await city.values() == [1.0, 2.0]
        return city.answered > before

    await until(answered)
    metrics = (await city.admin.get("/metrics")).text
    assert 'vigie_database_standby_fallbacks_total{reason="lag"}' in metrics
    assert "vigie_database_standby_reads_total" in metrics


async def test_nothing_that_was_erased_is_shown_by_a_late_standby(city: City) -> None:
    for second in range(5):
        await city.send(second, float(second))
    assert await city.values() == [0.0, 1.0, 2.0, 3.0, 4.0]
    worker_login = Database(
        city.settings.database.model_copy(update={"url": city.replicated.primary.url}),
        application="tests",
        role="vigie_maintain",
    )
    maintainer = await worker_login.connect()
    try:
        await check_erasure(city, maintainer)
    finally:
        await maintainer.close()
        await worker_login.close()


async def check_erasure(city: City, maintainer: asyncpg.Connection) -> None:
    held = "SELECT count(*) FROM samples"

    async def has_all() -> bool:
        return bool(await city.replicated.fetch_at(city.replicated.standby_url, held) == 5)

    await until(has_all)
    async with city.paused_replay():
        span = {
            "from": (NOW - timedelta(seconds=599)).isoformat(),
            "until": NOW.isoformat(),
            "reason": "File 1",
        }
        (await city.writer.post(f"/v1/boxes/{BOX}/erasures", json=span)).raise_for_status()
        while await ErasureWorker().run_once(maintainer):
            pass
        assert await city.replicated.fetch_at(city.replicated.standby_url, held) == 5, "the standby has all"
        assert await city.values() == [0.0]
        assert await city.exported() == [0.0]


async def test_a_purpose_that_ended_has_ended_in_the_register_at_once(city: City) -> None:
    before = city.answered
    site = f"/v1/sites/{city.site}"
    body = {"legal_basis": "public_task", "open_data": True}
    (await city.writer.patch(f"{site}/purposes/noise", json=body)).raise_for_status()

    def find_standing(register: dict[str, Any]) -> object:
        return next(each["standing"] for each in register["purposes"] if each["name"] == "noise")

    assert find_standing(await city.registered()) == "in_force"
    assert city.answered > before, "a standby answered"
    async with city.paused_replay():
        (await city.writer.post(f"{site}/purposes/noise/end", json={})).raise_for_status()
        assert find_standing(await city.registered()) == "ended"
        assert (await city.public.get("/public?lang=en")).status_code == 200


async def test_row_level_security_holds_on_a_standby(city: City) -> None:
    await city.send(0, 1.0)
    async with new_tenant(city.app, city.admin, "Other") as other:
        before = city.answered
        for path in (f"/v1/boxes/{BOX}/readings", "/v1/readings"):
            params = {"metric": "pm2_5", "box": BOX} if path == "/v1/readings" else {"metric": "pm2_5"}
            assert (await other.client.get(path, params=params)).status_code == 404
        answer = await other.client.get("/v1/readings/export", params={"format": "ndjson"})
        assert answer.text == ""
    # Not even a query without the filter of its caller sees the samples.
    standby = await asyncpg.connect(
        city.replicated.standby_url, server_settings={"role": "vigie_api", "vigie.reach": ""}
    )
    assert await standby.fetchval("SELECT count(*) FROM tenant_samples") == 0
    await standby.close()
    assert city.answered >= before
