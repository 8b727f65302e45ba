"""Publishes samples of boxes with `ack`, and records when each was sent and acknowledged."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import aiomqtt
import asyncpg

from simulators.target_stack import BrokerAddress

_QUEUE: Final = 65_535
_ALARM_EVERY: Final = 20
_STORED: Final = "SELECT b.id, s.time FROM samples s JOIN boxes b ON b.key = s.box_key"

type SampleName = tuple[str, int]
"""A box, and the sample's measurement time in milliseconds."""


@dataclass
class AcknowledgedLoad:
    """Publishes samples, and records them in a ledger with the clock of this machine.

    Attributes:
        broker: the broker, with the account of gateways.
        boxes: boxes with `ack`.
        per_s: samples a second.
        sent: when each sample was handed to the broker's client.
        acked: when the `ack` message that names it arrived.
    """

    broker: BrokerAddress
    boxes: Sequence[str]
    per_s: float
    sent: dict[SampleName, float] = field(default_factory=dict)
    acked: dict[SampleName, float] = field(default_factory=dict)
    _names: dict[tuple[str, int], SampleName] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish until the end of the block, then wait up to 30 s for the last acknowledgements."""
        stop = asyncio.Event()
        async with aiomqtt.Client(
            self.broker.host,
            self.broker.port,
            username=self.broker.username,
            password=self.broker.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            max_queued_outgoing_messages=_QUEUE,
        ) as client:
            client.pending_calls_threshold = len(self.boxes)
            await client.subscribe("vigie/v1/+/ack", qos=1)
            listening = asyncio.create_task(self._listen(client))
            publishing = asyncio.create_task(self._publish(client, stop))
            yield
            stop.set()
            await publishing
            with suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while len(self.acked) < len(self.sent):  # noqa: ASYNC110 (another task counts)
                        await asyncio.sleep(0.1)
            listening.cancel()
            await asyncio.wait({listening})

    async def _publish(self, client: aiomqtt.Client, stop: asyncio.Event) -> None:
        began, seq = time.monotonic(), 0
        while not stop.is_set():
            await asyncio.gather(*(self._publish_one(client, box, seq) for box in self.boxes))
            seq += 1
            await asyncio.sleep(max(0.0, began + seq * len(self.boxes) / self.per_s - time.monotonic()))

    async def _publish_one(self, client: aiomqtt.Client, box: str, seq: int) -> None:
        at = time.time()
        name = (box, round(at * 1000))
        value = 60.0 if (seq // 50) % _ALARM_EVERY == 0 else 12.5
        sample = {"seq": seq, "time": name[1], "values": {"pm2_5": value, "temperature": 21.5}}
        self._names[box, seq] = name
        self.sent[name] = at
        await client.publish(f"vigie/v1/{box}/telemetry", json.dumps(sample), qos=1)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            at = time.time()
            box = str(message.topic).split("/")[2]
            for seq in json.loads(bytes(message.payload or b"")).get("seqs", ()):
                name = self._names.get((box, seq))
                if name is not None:
                    self.acked.setdefault(name, at)

    async def compare(self, database_url: str, moment: datetime) -> "LedgerComparison":
        """Compare the ledger with a database that was restored to a moment."""
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch(_STORED)
        finally:
            await connection.close()
        stored = {(box, round(at.timestamp() * 1000)) for box, at in rows}
        until = moment.timestamp()
        before = {name for name, at in self.acked.items() if at <= until}
        later = {name for name, at in self.sent.items() if at > until}
        between = self.sent.keys() - before - later
        return LedgerComparison(
            acknowledged_before=len(before),
            missing=len(before - stored),
            sent_after=len(later),
            present=len(later & stored),
            under_way=len(between),
            under_way_stored=len(between & stored),
            unknown=len(stored - self.sent.keys()),
        )


@dataclass(frozen=True, slots=True)
class LedgerComparison:
    """The comparison of a restored database with the ledger.

    Attributes:
        acknowledged_before: samples acknowledged at the moment or earlier. All must be there.
        missing: those that are not.
        sent_after: samples sent after the moment. None may be there.
        present: those that are.
        under_way: samples sent before the moment, and acknowledged after it or never. Each may be there.
        under_way_stored: those that are.
        unknown: stored samples that are not in the ledger.
    """

    acknowledged_before: int
    missing: int
    sent_after: int
    present: int
    under_way: int
    under_way_stored: int
    unknown: int

    def __str__(self) -> str:
        return (
            f"{self.acknowledged_before} acknowledged before it, {self.missing} of them missing; "
            f"{self.sent_after} sent after it, {self.present} of them there; "
            f"{self.under_way} under way at it, {self.under_way_stored} of them there"
        )
