"""Publishes samples of boxes with `ack` as good boxes do: again after a lost connection, until acknowledged.

The ledger is in this process, outside all machines. A box numbers its samples from 0.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import aiomqtt

from bench.publisher import BrokerAccount

RULE: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
_ALARM_EVERY: Final = 200
_TICK_S: Final = 0.1
_PAUSE_S: Final = 0.5
_CONNECTIONS: Final = 8
_CHUNK: Final = 200
# A box whose samples are not acknowledged for so long connects anew.
_STALLED_S: Final = 10.0
_QUEUE: Final = 65_535


def is_alarm(index: int, seq: int) -> bool:
    """Return whether a sample is above the threshold of RULE. Those beside it are below."""
    return (seq + index) % _ALARM_EVERY == _ALARM_EVERY - 1


@dataclass
class BoxLedger:
    """The samples of one box.

    Attributes:
        box: Its id.
        index: Its number, on which its alarms depend.
        sent: How many samples it has published.
        pending: Payloads without their `ack` message, by number.
        first_sent: When each of these was published first.
        newest_acked: When the newest acknowledged sample was published first.
    """

    box: str
    index: int
    sent: int = 0
    pending: dict[int, bytes] = field(default_factory=dict)
    first_sent: dict[int, float] = field(default_factory=dict)
    newest_acked: float = 0.0
    _time_ms: int = 0

    def make_sample(self) -> bytes:
        """Make the next sample, and note it."""
        # A box and a time identify a sample, so no two have the same time.
        self._time_ms = max(round(time.time() * 1000), self._time_ms + 1)
        value = 40.0 if is_alarm(self.index, self.sent) else 12.5
        sample = {"seq": self.sent, "time": self._time_ms, "values": {"pm2_5": value, "temperature": 21.5}}
        payload = json.dumps(sample, separators=(",", ":")).encode()
        self.pending[self.sent] = payload
        self.first_sent[self.sent] = time.monotonic()
        self.sent += 1
        return payload

    def note_ack(self, seq: int) -> None:
        """Note the `ack` message of a sample."""
        if self.pending.pop(seq, None) is not None:
            self.newest_acked = max(self.newest_acked, self.first_sent.pop(seq))


class BoxLoad:
    """Boxes that share some connections, as behind gateways.

    Args:
        account: The account of gateways, at the address of haproxy.
        boxes: Their ids; all are registered with `ack`.
        per_s: Samples a second of all boxes together.
    """

    def __init__(self, account: BrokerAccount, boxes: Sequence[str], per_s: float) -> None:
        self._account = account
        self._per_s = per_s
        self.ledgers = [BoxLedger(box, index) for index, box in enumerate(boxes)]
        self._by_box = {ledger.box: ledger for ledger in self.ledgers}
        self._is_paused = False
        self.reconnects = 0

    @property
    def pending(self) -> int:
        """Samples without their `ack` message."""
        return sum(len(ledger.pending) for ledger in self.ledgers)

    @property
    def sent(self) -> int:
        """Samples published."""
        return sum(ledger.sent for ledger in self.ledgers)

    def are_all_acked_since(self, moment: float) -> bool:
        """Return whether each box has an `ack` message for a sample that it made after a moment."""
        return all(ledger.newest_acked >= moment for ledger in self.ledgers)

    def pause(self) -> None:
        """Make no further samples. What is not acknowledged is still repeated."""
        self._is_paused = True

    def resume(self) -> None:
        """Make samples again."""
        self._is_paused = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish for the length of a block."""
        groups = [self.ledgers[number::_CONNECTIONS] for number in range(_CONNECTIONS)]
        tasks = [
            asyncio.create_task(self._keep_connected(f"drill-{number}", group))
            for number, group in enumerate(groups)
            if group
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_connected(self, name: str, group: Sequence[BoxLedger]) -> None:
        while True:
            with suppress(aiomqtt.MqttError, OSError, TimeoutError, ExceptionGroup):
                async with aiomqtt.Client(
                    self._account.host,
                    self._account.port,
                    username=self._account.username,
                    password=self._account.password,
                    identifier=name,
                    protocol=aiomqtt.ProtocolVersion.V5,
                    timeout=_STALLED_S,
                    keepalive=10,
                    max_queued_outgoing_messages=_QUEUE,
                    max_inflight_messages=_QUEUE,
                ) as client:
                    client.pending_calls_threshold = _QUEUE
                    await self._publish_as(client, group)
            self.reconnects += 1
            await asyncio.sleep(_PAUSE_S)

    async def _publish_as(self, client: aiomqtt.Client, group: Sequence[BoxLedger]) -> None:
        for ledger in group:
            await client.subscribe(f"vigie/v1/{ledger.box}/ack", qos=1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(client))
            for ledger in group:
                waiting = list(ledger.pending.values())
                for start in range(0, len(waiting), _CHUNK):
                    await self._send(client, [(ledger, each) for each in waiting[start : start + _CHUNK]])
            await self._produce(client, group)

    async def _send(self, client: aiomqtt.Client, samples: Sequence[tuple[BoxLedger, bytes]]) -> None:
        await asyncio.gather(
            *(
                client.publish(f"vigie/v1/{ledger.box}/telemetry", payload, qos=1)
                for ledger, payload in samples
            )
        )

    async def _produce(self, client: aiomqtt.Client, group: Sequence[BoxLedger]) -> None:
        share = self._per_s * len(group) / len(self.ledgers)
        connected = before = time.monotonic()
        due, turn = 0.0, 0
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            due += 0.0 if self._is_paused else (now - before) * share
            before = now
            samples = []
            while due >= 1:
                ledger = group[turn % len(group)]
                samples.append((ledger, ledger.make_sample()))
                turn, due = turn + 1, due - 1
            await self._send(client, samples)
            oldest = min(
                (next(iter(each.first_sent.values())) for each in group if each.first_sent), default=now
            )
            if now - max(oldest, connected) > _STALLED_S:
                raise TimeoutError("samples are not acknowledged")

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            ledger = self._by_box[message.topic.value.split("/")[2]]
            for seq in json.loads(bytes(message.payload or b"{}")).get("seqs", ()):
                ledger.note_ack(seq)
