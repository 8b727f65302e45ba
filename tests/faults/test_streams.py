"""Streams of events that are cut at any byte, while two dispatchers give events their places."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.platform.db.database import Database
from app.standalone.free_ports import find_free_port
from tests.conftest import Tenant
from tests.faults.harness import FaultOutcome, FaultReport, FaultSize
from tests.faults.proxy import FaultyProxy, proxied
from tests.integration.notifications.helpers import emit, event
from tests.integration.notifications.streams import PATH, parse
from tests.scenarios.processes import RoleProcess, role, until

pytestmark = pytest.mark.fault


@dataclass
class _Follower:
    """A client that loses its connection again and again, and goes on by the last id that it read whole."""

    url: str
    key: str
    fate: random.Random
    got: list[str] = field(default_factory=list)
    last_id: str | None = None
    connections: int = 0
    cut_inside: int = 0

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:
            while True:
                try:
                    await self._connect(client)
                except httpx.TransportError:
                    await asyncio.sleep(0.02)

    async def _connect(self, client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        # Without end only once it was cut twice inside an event: else chance could leave nothing to resume.
        ends = [400, 2_000, 10_000] if self.cut_inside < 2 else [400, 2_000, 10_000, 10**9]
        patience = self.fate.choice(ends)
        async with client.stream("GET", PATH, headers=headers) as answer:
            if answer.status_code == 503:
                return
            answer.raise_for_status()
            self.connections += 1
            buffer, block = b"", list[str]()
            async for chunk in answer.aiter_bytes():
                taken = chunk[:patience]
                patience -= len(taken)
                *lines, buffer = (buffer + taken).split(b"\n")
                for line in lines:
                    self._take(line.decode(), block)
                if patience <= 0:
                    self.cut_inside += bool(buffer or block)
                    return

    def _take(self, line: str, lines: list[str]) -> None:
        """Take a line; an empty one ends the block whose lines came before it."""
        if line.startswith(": keep-alive "):
            self.last_id = line.rpartition(" ")[2]
        elif line:
            lines.append(line)
        else:
            block = parse([each for each in lines if not each.startswith((":", "retry:"))])
            lines.clear()
            if block.data is not None:
                self.got.append(block.message)
            if block.id is not None:
                self.last_id = block.id


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def _emit(database: Database, organisation: UUID, count: int, fate: random.Random) -> None:
    """Commit events, some at a time."""
    connection = await database.connect()
    while count > 0:
        batch = min(count, fate.randint(1, 12))
        await emit(connection, *(event(organisation) for _ in range(batch)))
        count -= batch
        await asyncio.sleep(fate.random() * 0.03)
    await connection.close()


async def _emit_twice(database: Database, organisation: UUID, count: int, fate: random.Random) -> None:
    """Two who emit at once, so many events each."""
    fates = [random.Random(fate.random()) for _ in range(2)]  # noqa: S311
    await asyncio.gather(*(_emit(database, organisation, count, one) for one in fates))


async def _all(told: Iterable[bool]) -> bool:
    return all(told)


async def _cut(proxy: FaultyProxy, fate: random.Random) -> None:
    """Reset every connection, now and then."""
    while True:
        await asyncio.sleep(0.05 + fate.random() * 0.4)
        proxy.partition()
        proxy.heal()


async def test_21_streams_cut(
    *,
    tenant: Tenant,
    database: Database,
    connection: asyncpg.Connection,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """Each client gets each event once, in the same order, though the API is killed meanwhile as well."""
    fate, organisation = random.Random(7), UUID(tenant.id)  # noqa: S311 (a fault, repeatable)
    many, port = size.of(600, 20_000), find_free_port()
    api = RoleProcess("api", tmp_path / "api.log")
    (tmp_path / "second").mkdir()
    async with (
        role("deliver", tmp_path),
        role("deliver", tmp_path / "second"),
        proxied("127.0.0.1", port) as proxy,
        asyncio.TaskGroup() as group,
    ):
        url = f"http://127.0.0.1:{proxy.port}"
        followers = [_Follower(url, tenant.key, random.Random(seed)) for seed in range(4)]  # noqa: S311
        await api.start(VIGIE_API__PORT=str(port))
        try:
            tasks = [group.create_task(follower.run()) for follower in followers]
            await until(lambda: _all(bool(follower.last_id) for follower in followers))
            cutting = group.create_task(_cut(proxy, fate))
            await _emit_twice(database, organisation, many // 4, fate)
            await api.kill()
            await _emit_twice(database, organisation, many // 4, fate)
            await api.start(VIGIE_API__PORT=str(port))
            cutting.cancel()
            healed_at = time.monotonic()
            await until(lambda: _all(len(set(one.got)) >= many for one in followers), patience_s=60)
            recovery = time.monotonic() - healed_at
        finally:
            assert await api.terminate() == 0
        for task in tasks:
            task.cancel()
    rows = await connection.fetch(
        "SELECT id FROM outbox WHERE organisation_id = $1 ORDER BY stream_position", organisation
    )
    expected = [f"msg_{row['id'].hex}" for row in rows]
    assert len(expected) == many
    for follower in followers:
        assert follower.got == expected, (len(follower.got), follower.connections)
    assert sum(follower.cut_inside for follower in followers) > len(followers)
    got = sum(len(set(follower.got)) for follower in followers)
    twice = sum(len(follower.got) for follower in followers) - got
    sent = many * len(followers)
    report.add("21 event streams cut", FaultOutcome(sent, got, sent - got, twice, recovery))
