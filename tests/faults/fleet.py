"""A fleet that writes down each sample before it sends it, and compares that with what the database holds."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import asyncpg
import httpx

from app.embedded.mosquitto import PrivateMosquitto
from tests.scenarios.processes import until

START_MS = round(time.time() * 1000) - 86_400_000


def body(seq: int, value: float = 12.5) -> dict[str, object]:
    """One sample: its time follows from its number."""
    return {"seq": seq, "time": START_MS + seq * 100, "values": {"pm2_5": value, "temperature": 21.5}}


@dataclass
class Fleet:
    """Boxes, the broker that they publish to, and the ledger of what they sent."""

    client: httpx.AsyncClient
    broker: PrivateMosquitto
    database_url: str
    boxes: Sequence[str]
    ledger: Path
    sent: set[tuple[str, int]] = field(default_factory=set)

    async def register(self, site_id: str) -> None:
        wanted = {"boxes": [{"id": box, "site_id": site_id} for box in self.boxes]}
        (await self.client.post("/v1/boxes/bulk", json=wanted)).raise_for_status()

    def note(self, box: str, seq: int) -> None:
        with self.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(f"{box} {seq}\n")
        self.sent.add((box, seq))

    async def publish(
        self, seqs: range, *, poison: frozenset[int] = frozenset(), pause_s: float = 0.0, times: int = 1
    ) -> None:
        """Publish each number once for every box, as the gateway; returns when the broker has them all."""
        async with aiomqtt.Client(
            self.broker.host,
            self.broker.port,
            username="gateway",
            password="gateway-password",
            max_inflight_messages=1000,
        ) as client:
            for seq in seqs:
                payload = json.dumps(body(seq, 666.0 if seq in poison else 12.5))
                for box in self.boxes:
                    self.note(box, seq)
                for _ in range(times):
                    topics = [f"vigie/v1/{box}/telemetry" for box in self.boxes]
                    await asyncio.gather(*(client.publish(topic, payload, qos=1) for topic in topics))
                if pause_s:
                    await asyncio.sleep(pause_s)

    async def consuming(self) -> None:
        """Wait until a consumer's session exists: what is published before it, no broker keeps."""

        async def ask() -> bool:
            query = "SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'"
            return bool(await self.value(query))

        await until(ask)

    async def value(self, query: str, *arguments: object) -> int:
        """One number of the database, on a connection of its own: the server may have been away."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            number: int = await connection.fetchval(query, *arguments)
        finally:
            connection.terminate()
        return number

    async def stored(self) -> set[tuple[str, int]]:
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            rows = await connection.fetch(
                "SELECT b.id, s.seq FROM samples s JOIN boxes b ON b.key = s.box_key"
            )
        finally:
            connection.terminate()
        return {(box, seq) for box, seq in rows}

    async def total(self, what: str) -> int:
        return await self.value(f"SELECT coalesce(sum({what}), 0) FROM ingest_totals")  # noqa: S608 (ours)

    async def all_there(self, *, but: int = 0, patience_s: float = 30.0) -> None:
        """Wait until all but so many samples are stored; what is there must be what the ledger says."""

        async def ask() -> bool:
            try:
                return await self.value("SELECT count(*) FROM samples") >= len(self.sent) - but
            except (OSError, asyncpg.PostgresError):
                return False

        await until(ask, patience_s=patience_s)
        written = {
            (box, int(seq)) for box, seq in (line.split() for line in self.ledger.read_text().splitlines())
        }
        stored = await self.stored()
        assert stored <= written
        assert len(written - stored) == but
        assert await self.total("stored") == len(stored)
        assert await self.total("conflict") == 0
