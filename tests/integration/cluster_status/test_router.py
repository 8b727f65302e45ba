"""`GET /v1/cluster` on one machine and on several, and edges that are removed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.cluster_status.reported_edges import report
from tests.integration.edge.machines import PARTITIONS, EdgeMachine, LogCluster
from tests.scenarios.processes import role, until

ANSWER_WITHIN_S = 30.0  # a host that hangs, or a log, would hold it for ever


async def read(client: httpx.AsyncClient) -> dict[str, Any]:
    began = time.monotonic()
    shown: dict[str, Any] = (await client.get("/v1/cluster")).raise_for_status().json()
    assert time.monotonic() - began < ANSWER_WITHIN_S
    return shown


def codes(shown: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in shown["problems"]}


@asynccontextmanager
async def serving(settings: VigieSettings, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application with settings of its own, for its administrator."""
    async with running(new_application(settings)) as app, client_of(app, key) as client:
        yield client


async def test_one_broker_and_one_database(
    api: httpx.AsyncClient, settings: VigieSettings, folder: Path
) -> None:
    async with role("maintain", folder):

        async def works() -> dict[str, Any] | None:
            found = await read(api)
            return found if found["locks"][0]["holders"] else None

        shown = await until(works)
        assert shown is not None
    assert (shown["mode"], shown["problems"]) == ("single", [])
    assert (shown["edges"], shown["partitions"], shown["workers"]) == ([], [], [])
    (host,) = shown["database_hosts"]
    assert host["role"] == "primary"
    assert host["host"] in settings.database.url
    maintainer = next(each for each in shown["processes"] if each["role"] == "maintain")
    assert shown["locks"][0] == {"name": "maintainer", "held": True, "holders": [maintainer["instance"]]}


async def test_only_administrators_of_the_platform_may(tenant: Tenant) -> None:
    assert (await tenant.client.get("/v1/cluster")).status_code == 403
    assert (await tenant.client.delete("/v1/cluster/edges/a")).status_code == 403


async def test_an_edge_that_is_gone_is_removed_and_recorded(
    api: httpx.AsyncClient, database: Database
) -> None:
    await report(database, "a")
    await report(database, "b", silent_s=11)
    assert [edge["state"] for edge in (await read(api))["edges"]] == ["alive", "silent"]
    alive = await api.delete("/v1/cluster/edges/a")
    assert (alive.status_code, alive.json()["code"]) == (409, "edge_is_alive")
    assert (await api.delete("/v1/cluster/edges/c")).status_code == 404
    assert (await api.delete("/v1/cluster/edges/b")).status_code == 204
    assert [edge["name"] for edge in (await read(api))["edges"]] == ["a"]
    entries = (await api.get("/v1/audit?action=edge.deleted")).raise_for_status().json()["data"]
    assert [(entry["subject"]["kind"], entry["subject"]["id"]) for entry in entries] == [("edge", "b")]
    assert entries[0]["actor"]["kind"] == "key"


async def test_a_database_host_that_hangs_does_not_hold_the_answer(
    settings: VigieSettings, admin_key: str
) -> None:
    released = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    second = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    head, _, name = settings.database.url.rpartition("/")
    database = settings.database.model_copy(update={"url": f"{head},{second}/{name}"})
    async with serving(settings.model_copy(update={"database": database}), admin_key) as client:
        shown = await read(client)
        released.set()
    server.close()
    assert shown["mode"] == "cluster"
    assert [host["role"] for host in shown["database_hosts"]] == ["primary", "unreachable"]
    assert codes(shown) == {"database_host_unreachable", "no_synchronous_standby"}
    assert second in {problem["subject"] for problem in shown["problems"]}


async def test_edges_partitions_and_workers_of_a_log(
    cluster: LogCluster, machines: list[EdgeMachine], admin_key: str, tmp_path: Path
) -> None:
    async with machines[0].running(tmp_path), serving(cluster.all_settings, admin_key) as client:
        async with role("ingest", tmp_path) as worker:
            await machines[0].publish([("vigie/v1/unknown/telemetry", b"{}")])

            async def stored() -> dict[str, Any] | None:
                found = await read(client)
                owned = [each for each in found["partitions"] if each["owned"]]
                done = len(owned) == PARTITIONS and sum(each["position"] for each in owned)
                return found if done and not found["problems"] else None

            shown = await until(stored)
            assert shown is not None
            assert shown["mode"] == "cluster"
            (edge,) = shown["edges"]
            assert (edge["name"], edge["state"], edge["connected"]) == ("a", "alive", True)
            assert all(len(each["in_sync"]) == 3 and each["leader"] for each in shown["partitions"])
            assert {each["lag_records"] for each in shown["partitions"]} == {0}
            (found,) = shown["workers"]
            assert found["name"].endswith(f"-{worker.pid}")
            assert found["partitions"] == PARTITIONS
            async with cluster.suspended():

                async def unavailable() -> dict[str, Any] | None:
                    found = await read(client)
                    return found if codes(found) & {"log_unavailable", "partition_without_majority"} else None

                shown = await until(unavailable)
                assert shown is not None
                assert len(shown["partitions"]) == PARTITIONS

        async def unowned() -> bool:
            return "partition_without_owner" in codes(await read(client))

        assert await until(unowned)


async def test_an_observer_with_another_number_of_partitions_creates_none(
    cluster: LogCluster, admin_key: str, tmp_path: Path
) -> None:
    more = cluster.settings.model_copy(update={"partitions": PARTITIONS + 1})
    settings = cluster.all_settings.model_copy(update={"message_log": more})
    async with role("ingest", tmp_path), serving(settings, admin_key) as client:

        async def differs() -> bool:
            shown = await read(client)
            # The worker has opened the log with its own setting before it owns them.
            owned = sum(each["owned"] for each in shown["partitions"])
            return owned == PARTITIONS and "partitions_setting_differs" in codes(shown)

        assert await until(differs)
    connection = await nats.connect(
        [f"nats://{server}" for server in more.servers],
        user=more.username,
        password=more.password.get_secret_value(),
    )
    streams = [info.config.name or "" for info in await connection.jetstream().streams_info()]
    await connection.close()
    assert sum(name.startswith(f"{more.name}-") for name in streams) == PARTITIONS
