"""A fleet that writes down each sample before it sends it, and compares that with what the database holds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path

import aiomqtt
import asyncpg
import httpx
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.ingest.sources.reconnecting_mqtt_source import TOPICS
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS
from tests.faults.harness import FaultOutcome
from tests.scenarios.processes import until

START_MS = round(time.time() * 1000) - 86_400_000
POISON = 666.0
RULE = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}


def alarms(seq: int) -> bool:
    """Whether the sample of this number is above the threshold of RULE; those beside it are not."""
    return seq % 10 == 5


def time_ms(seq: int) -> int:
    return START_MS + seq * 100


def body(seq: int, value: float | None = None) -> dict[str, object]:
    """One sample: its time follows from its number, and its value unless one is given."""
    usual = 40.0 if alarms(seq) else 12.5
    values = {"pm2_5": usual if value is None else value, "temperature": 21.5}
    return {"seq": seq, "time": time_ms(seq), "values": values}


async def leave_session(broker: PrivateMosquitto, client_id: str) -> None:
    """As a consumer does that was there, and is away."""
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types here
    lasting.SessionExpiryInterval = 3600
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        username="ingest",
        password=ACCOUNTS["ingest"],
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=lasting,
    ) as client:
        for topic in TOPICS:
            await client.subscribe(topic, qos=1)


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is that the test did not start itself."""

    host: str
    port: int


@dataclass
class FaultFleet:
    """Boxes, the broker that they publish to, and the ledger of what they sent.

    Attributes:
        patience_s: how long the broker may take to acknowledge; then a sample is sent again. It is short, for
            a client learns of a broker that died by this alone. Where none dies, a test that counts what was
            sent waits longer.
    """

    client: httpx.AsyncClient
    broker: PrivateMosquitto | BrokerAddress
    database_url: str
    boxes: Sequence[str]
    ledger: Path
    sent: set[tuple[str, int]] = field(default_factory=set)
    next_seq: int = 0
    perhaps_twice: int = 0
    patience_s: float = 2.0
    password: str = ACCOUNTS["gateway"]
    healed_at: float = field(default_factory=time.monotonic)

    async def register(self, site_id: str, *, ack: bool = False) -> None:
        wanted = {"boxes": [{"id": box, "site_id": site_id, "ack": ack} for box in self.boxes]}
        (await self.client.post("/v1/boxes/bulk", json=wanted)).raise_for_status()
        rule = {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": RULE}
        (await self.client.post("/v1/rules", json=rule)).raise_for_status()

    def note(self, box: str, seq: int) -> None:
        with self.ledger.open("a", encoding="utf-8") as ledger:
            ledger.write(f"{box} {seq}\n")
        self.sent.add((box, seq))

    def note_all(self, seq: int) -> None:
        with self.ledger.open("a", encoding="utf-8") as ledger:
            ledger.writelines(f"{box} {seq}\n" for box in self.boxes)
        self.sent.update((box, seq) for box in self.boxes)

    def gateway(self) -> aiomqtt.Client:
        """A client that may publish for every box."""
        client = aiomqtt.Client(
            self.broker.host,
            self.broker.port,
            username="gateway",
            password=self.password,
            max_inflight_messages=1000,
            timeout=self.patience_s,
        )
        client.pending_calls_threshold = max(100, len(self.boxes))
        return client

    async def publish(
        self, seqs: range, *, poison: frozenset[int] = frozenset(), pause_s: float = 0.0, times: int = 1
    ) -> None:
        """Publish each number once for every box; returns when the broker has them all.

        As a box would: what the broker has not taken when the connection ends is sent again on the next one.
        The first box's samples of the numbers in `poison` are ones that a test has the database refuse.
        """
        topics = [f"vigie/v1/{box}/telemetry" for box in self.boxes]
        left = list(seqs)
        while left:
            try:
                async with self.gateway() as client:
                    while left:
                        seq = left[0]
                        self.note_all(seq)
                        payload = json.dumps(body(seq))
                        payloads = dict.fromkeys(topics, payload)
                        if seq in poison:
                            payloads[topics[0]] = json.dumps(body(seq, POISON))
                        for _ in range(times):
                            await asyncio.gather(
                                *(client.publish(topic, text, qos=1) for topic, text in payloads.items())
                            )
                        left.pop(0)
                        await asyncio.sleep(pause_s)
            except aiomqtt.MqttError:
                # The broker may have them all.
                self.perhaps_twice += times * len(topics)
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def load(self, pause_s: float = 0.04) -> AsyncIterator[None]:
        """Publish all the time, for the length of a block; all that was begun is at the broker after it."""
        over = asyncio.Event()

        async def go_on() -> None:
            while not over.is_set():
                await self.publish(range(self.next_seq, self.next_seq + 5), pause_s=pause_s)
                self.next_seq += 5

        publishing = asyncio.create_task(go_on())
        try:
            yield
        finally:
            over.set()
            async with asyncio.timeout(60):
                await publishing

    def healed(self) -> None:
        """The fault has ended: recovery is counted from now."""
        self.healed_at = time.monotonic()

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
            number: int = await connection.fetchval(query, *arguments, timeout=10)
        finally:
            connection.terminate()
        return number

    async def rows(self) -> int:
        return await self.value("SELECT count(*) FROM samples")

    async def more(self, than: int, *, patience_s: float = 60.0) -> None:
        """Wait until more samples are stored than that."""

        async def ask() -> bool:
            return await self.rows() > than

        await until(ask, patience_s=patience_s)

    async def stored(self) -> list[tuple[str, int]]:
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            rows = await connection.fetch(
                "SELECT b.id, s.seq FROM samples s JOIN boxes b ON b.key = s.box_key"
            )
        finally:
            connection.terminate()
        return [(box, seq) for box, seq in rows]

    async def total(self, what: str) -> int:
        return await self.value(f"SELECT coalesce(sum({what}), 0) FROM ingest_totals")  # noqa: S608 (ours)

    async def _alerts(self) -> list[tuple[str, int]]:
        """(box, number of the sample that fired it) of each alert; one event of each is in the outbox."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            rows = await connection.fetch("SELECT box, started_at, sequence FROM alerts")
            events = await connection.fetchval("SELECT count(*) FROM outbox WHERE type LIKE 'alert.%'")
        finally:
            connection.terminate()
        assert events == sum(row["sequence"] for row in rows), "an event for each change of an alert"
        return [(row["box"], round((row["started_at"].timestamp() * 1000 - START_MS) / 100)) for row in rows]

    async def outcome(self, *, but: int = 0, patience_s: float = 60.0, ordered: bool = False) -> FaultOutcome:
        """Wait until all but so many samples are stored, and compare them with the ledger.

        Args:
            but: how many are rightly not stored.
            patience_s: what is not there by then is lost.
            ordered: each box's samples came in their order: then its alerts are known too, and counted in.
        """

        async def ask() -> bool:
            try:
                return await self.rows() >= len(self.sent) - but
            except (OSError, TimeoutError, asyncpg.PostgresError):
                return False

        with suppress(TimeoutError):  # the comparison says what is missing
            await until(ask, patience_s=patience_s)
        recovery = time.monotonic() - self.healed_at
        lines = self.ledger.read_text(encoding="utf-8").splitlines()
        written = {(box, int(seq)) for box, seq in (line.split() for line in lines)}
        stored = await self.stored()
        there = set(stored)
        assert there <= written, "what is stored was sent"
        assert await self.total("conflict") == 0
        counted = await self.total("stored")
        lost = len(written) - len(there) - but
        twice = len(stored) - len(there) + abs(counted - len(stored))
        if ordered:
            fired = await self._alerts()
            wanted = {(box, seq) for box, seq in written if alarms(seq)}
            lost += len(wanted - set(fired))
            twice += len(fired) - len(wanted & set(fired))
        return FaultOutcome(len(written), len(there), lost, twice, recovery)


@dataclass
class StoringBox:
    """Boxes with `ack`: each keeps a sample until it is named, and sends it again after a while."""

    fleet: FaultFleet
    kept: dict[tuple[str, int], float] = field(default_factory=dict)
    again_s: float = 0.5
    make_body: Callable[[int], dict[str, object]] = body

    def record(self, seq: int) -> None:
        """A measurement of every box."""
        self.fleet.note_all(seq)
        self.kept.update(((box, seq), 0.0) for box in self.fleet.boxes)

    async def live(self) -> None:
        """Be connected whenever there is a broker: send what is kept, forget what is named."""
        while True:
            try:
                async with self.fleet.gateway() as client:
                    await client.subscribe("vigie/v1/+/ack", qos=1)
                    self.kept = dict.fromkeys(self.kept, 0.0)
                    sending = asyncio.create_task(self._send(client))
                    try:
                        async for message in client.messages:
                            self._forget(message)
                    finally:
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    def _forget(self, message: aiomqtt.Message) -> None:
        assert isinstance(message.payload, bytes)
        box = message.topic.value.split("/")[2]
        for seq in json.loads(message.payload).get("seqs", []):
            self.kept.pop((box, seq), None)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            now = time.monotonic()
            due = [entry for entry, sent in self.kept.items() if now - sent >= self.again_s]
            # Together: one by one they would wait for each other's delayed TCP acknowledgements (40 ms).
            for portion in batched(due, 100):
                left = [entry for entry in portion if entry in self.kept]
                self.kept.update(dict.fromkeys(left, time.monotonic()))
                try:
                    async with asyncio.TaskGroup() as group:
                        for box, seq in left:
                            topic, text = f"vigie/v1/{box}/telemetry", json.dumps(self.make_body(seq))
                            group.create_task(client.publish(topic, text, qos=1))
                except* aiomqtt.MqttError:
                    await asyncio.sleep(0.1)  # `live` sees a connection that has ended
            await asyncio.sleep(0.02)


async def write_through(url: str) -> None:
    """Have the tests' fast server write what it says is committed, as one in production does."""
    owner = await asyncpg.connect(url)
    name = url.rpartition("/")[2]
    await owner.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    await owner.close()
