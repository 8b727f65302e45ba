"""`vigie api` with two workers: real processes on one port."""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import httpx
import psutil

from app.standalone.free_ports import find_free_port
from tests.conftest import Tenant
from tests.scenarios.processes import RoleProcess, serves, until

WORKERS = 2


def workers_of(process: RoleProcess) -> list[psutil.Process]:
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended, or a zombie
            if "api-worker" in each.cmdline():
                found.append(each)
    return found


async def ask(url: str, key: str, times: int) -> Counter[int]:
    """Ask so often, each time on a connection of its own: any worker may answer."""

    async def once() -> int:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
            return (await client.get(f"{url}/v1/sites")).status_code

    return Counter([await once() for _ in range(times)])


async def test_workers_share_port_limits_and_revocations(tenant: Tenant, tmp_path: Path) -> None:
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    process = RoleProcess("api", tmp_path / "api.log")
    # A burst of 40, and next to nothing after it.
    limits = {"VIGIE_API__RATE_PER_S": "0.001", "VIGIE_API__RATE_BURST": "40"}
    await process.start(VIGIE_API__WORKERS=str(WORKERS), VIGIE_API__PORT=str(port), **limits)
    try:
        await until(lambda: serves(url), patience_s=90)
        pids = {each.pid for each in workers_of(process)}
        assert len(pids) == WORKERS
        assert await ask(url, tenant.key, 60) == {200: 40, 429: 20}

        made = await tenant.client.post("/v1/api-keys", json={"name": "other", "scopes": ["sites:read"]})
        other = made.raise_for_status().json()
        assert await ask(url, other["key"], 10) == {200: 10}
        (await tenant.client.delete(f"/v1/api-keys/{other['id']}")).raise_for_status()

        async def refused() -> bool:
            return await ask(url, other["key"], 5) == {401: 5}

        # The API of this test is another process: its notification takes a moment.
        await until(refused, patience_s=60)

        victim = workers_of(process)[0]
        victim.kill()

        async def restarted() -> bool:
            now = {each.pid for each in workers_of(process)}
            return len(now) == WORKERS and victim.pid not in now

        async with asyncio.timeout(60):
            while not await restarted():
                # The other worker serves on.
                assert await serves(url)
                await asyncio.sleep(0.1)
        # A restart does not fill the buckets.
        assert await ask(url, tenant.key, 5) == {429: 5}
        workers = workers_of(process)
    finally:
        status = await process.terminate()
    assert status == 0, process.log.read_text()[-2000:]
    assert not any(each.is_running() for each in workers)
