"""Processes that die under many callers of HTTP ingest, whose calls share transactions."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.standalone.free_ports import find_free_port
from app.standalone.private_postgres import PrivatePostgres
from bench.neighbour_client import ClientConnection
from bench.stack import LIMITS
from tests.conftest import Tenant
from tests.faults.fleet import FaultFleet, body, write_through
from tests.faults.harness import FaultReport, FaultSize
from tests.scenarios.processes import RoleProcess, serves, until

pytestmark = pytest.mark.fault

CALLERS = 32
_OK = 200
_ANSWER_WITHIN_S = 10.0


@dataclass
class Callers:
    """Gateways that write each sample to the ledger, and send it until it is answered with 200."""

    fleet: FaultFleet
    port: int
    key: str
    answered: int = 0
    refused: set[int] = field(default_factory=set)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call all the time, for the length of a block; all that was begun is answered after it."""
        over = asyncio.Event()
        calling = [asyncio.create_task(self._call(number, over)) for number in range(CALLERS)]
        try:
            yield
        finally:
            over.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*calling)

    async def more(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        wanted = self.answered + calls

        async def ask() -> bool:
            return self.answered >= wanted

        await until(ask, patience_s=60)

    async def _call(self, number: int, over: asyncio.Event) -> None:
        box = self.fleet.boxes[number % len(self.fleet.boxes)]
        connection: ClientConnection | None = None
        while not over.is_set():
            seq = self.fleet.next_seq
            self.fleet.next_seq += 1
            self.fleet.note(box, seq)
            request = self._request(box, seq)
            while True:
                try:
                    async with asyncio.timeout(_ANSWER_WITHIN_S):
                        connection = connection or await ClientConnection.to(self.port)
                        answer = await connection.ask(request)
                except OSError:
                    connection = None
                    await asyncio.sleep(0.02)
                    continue
                if answer.status == _OK:
                    self.answered += 1
                    break
                self.refused.add(answer.status)
                await asyncio.sleep(0.02)

    def _request(self, box: str, seq: int) -> bytes:
        content = json.dumps({"box": box, "samples": [body(seq)]})
        return (
            f"POST /v1/telemetry HTTP/1.1\r\nHost: faults\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n{content}"
        ).encode()


@asynccontextmanager
async def serving(
    fleet: FaultFleet, tenant: Tenant, folder: Path
) -> AsyncIterator[tuple[RoleProcess, Callers]]:
    """Run the API without limits; gives the process, and callers that have not begun."""
    port = find_free_port()
    process = RoleProcess("api", folder / "api.log")
    await start(process, port)
    try:
        yield process, Callers(fleet, port, tenant.key)
    finally:
        assert await process.terminate() == 0


async def start(process: RoleProcess, port: int) -> None:
    """Start the API, and wait until it serves."""
    await process.start(VIGIE_API__PORT=str(port), **dict.fromkeys(LIMITS, "0"))
    await until(lambda: serves(f"http://127.0.0.1:{port}"), patience_s=60)


async def test_23_api_killed(
    fleet: FaultFleet, tenant: Tenant, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    async with serving(fleet, tenant, tmp_path) as (api, callers):
        async with callers.calling():
            for _ in range(size.of(2, 20)):
                await callers.more(size.of(200, 1_000))
                await api.kill()
                await start(api, callers.port)
            fleet.healed()
            await callers.more(100)
        report.add("23 API killed under HTTP ingest", await fleet.outcome())
    assert callers.answered == len(fleet.sent)


async def test_23_postgres_killed_under_http_ingest(
    *,
    fleet: FaultFleet,
    tenant: Tenant,
    postgres: PrivatePostgres,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    await write_through(fleet.database_url)
    async with serving(fleet, tenant, tmp_path) as (_, callers):
        async with callers.calling():
            for _ in range(size.of(2, 8)):
                await callers.more(size.of(200, 1_000))
                postgres.kill()
                await asyncio.sleep(size.of(0.2, 2))
                await postgres.stop()
                await postgres.start()
            fleet.healed()
            await callers.more(100)
        report.add("23 PostgreSQL killed under HTTP ingest", await fleet.outcome())
    assert callers.answered == len(fleet.sent)
    assert callers.refused <= {503}
    assert await fleet.value("SELECT count(*) FROM quarantine WHERE box LIKE 'box-%'") == 0
