"""Publishes samples of boxes with `ack` as good boxes do: again after a lost connection, until acknowledged.

The ledger is in this process, outside all machines. A box numbers its samples from 0.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import aiomqtt

from bench.publisher import BrokerAccount

ALARM: Final = 40.0
_NO_ALARM: Final = 12.5
_ALARM_EVERY: Final = 200
_HEAT_EVERY: Final = 600
# From which sample of the cycle on the temperature has a value: warm, hot, in the band of the rules, normal;
# then hot for too short a time for rules that wait.
_HEAT_PHASES: Final = ((0, 32.0), (40, 36.0), (80, 27.0), (100, 21.5), (300, 36.0), (308, 21.5))
NORMAL_TEMPERATURE: Final = 21.5
_HUMID: Final = 95.0
_DRY: Final = 50.0
_TICK_S: Final = 0.1
_PAUSE_S: Final = 0.5
_CONNECTIONS: Final = 8
_CHUNK: Final = 200
# A broker that does not confirm a message for so long is left (s).
_CONFIRM_S: Final = 10.0
# A box whose samples are not acknowledged for so long reconnects, and repeats them (s): twice as often as
# docs/boxes.md advises.
_STALLED_S: Final = 30.0
_QUEUE: Final = 65_535


def is_alarm(index: int, seq: int) -> bool:
    """Return whether a sample has the value ALARM. Those beside it are below all thresholds."""
    return (seq + index) % _ALARM_EVERY == _ALARM_EVERY - 1


def find_temperature(index: int, seq: int) -> float:
    """Return the temperature of a sample: hot for 80 samples of a cycle, and once for 8."""
    place = (seq + 7 * index) % _HEAT_EVERY
    return next(value for begin, value in reversed(_HEAT_PHASES) if place >= begin)


class BoxMove(NamedTuple):
    """A move of a box to another site.

    Attributes:
        former, site: The sites.
        first_open: The first sample that was not acknowledged when the move was requested.
        first_after: The first sample that was made after the move was answered.
    """

    former: str
    site: str
    first_open: int
    first_after: int


@dataclass
class BoxLedger:
    """The samples of one box.

    Attributes:
        box: Its id.
        index: Its number, on which its alarms depend.
        site: The site in which it was registered.
        is_mobile: Whether it moves between sites. Such a box has alarms only.
        stops: Whether it stops on purpose in each case.
        is_stopped: Whether it makes no samples now.
        times_ms: The time of each sample.
        moves: Its moves to other sites.
        pending: Payloads without their `ack` message, by number.
        first_sent: When each of these was published first.
        newest_acked: When the newest acknowledged sample was published first.
        longest_ack_s: The longest time from a sample to its `ack` message.
        repeated: Samples that were acknowledged only after the box had repeated them.
    """

    box: str
    index: int
    site: str = ""
    is_mobile: bool = False
    stops: bool = False
    is_stopped: bool = False
    times_ms: list[int] = field(default_factory=list)
    moves: list[BoxMove] = field(default_factory=list)
    pending: dict[int, bytes] = field(default_factory=dict)
    first_sent: dict[int, float] = field(default_factory=dict)
    newest_acked: float = 0.0
    longest_ack_s: float = 0.0
    repeated: int = 0

    @property
    def sent(self) -> int:
        """How many samples it has made."""
        return len(self.times_ms)

    @property
    def first_open(self) -> int:
        """The first sample without its `ack` message."""
        return next(iter(self.pending), self.sent)

    def make_sample(self, *, humid: bool = False) -> bytes:
        """Make the next sample, and note it."""
        # A box and a time identify a sample, so no two have the same time.
        time_ms = max(round(time.time() * 1000), self.times_ms[-1] + 1 if self.times_ms else 0)
        seq = self.sent
        values = {
            "pm2_5": ALARM if is_alarm(self.index, seq) else _NO_ALARM,
            "temperature": NORMAL_TEMPERATURE if self.is_mobile else find_temperature(self.index, seq),
            "humidity": _HUMID if humid and not self.is_mobile else _DRY,
        }
        sample = {"seq": seq, "time": time_ms, "values": values}
        payload = json.dumps(sample, separators=(",", ":")).encode()
        self.pending[seq] = payload
        self.first_sent[seq] = time.monotonic()
        self.times_ms.append(time_ms)
        return payload

    def note_ack(self, seq: int) -> None:
        """Note the `ack` message of a sample."""
        if self.pending.pop(seq, None) is not None:
            first = self.first_sent.pop(seq)
            delay_s = time.monotonic() - first
            self.newest_acked = max(self.newest_acked, first)
            self.longest_ack_s = max(self.longest_ack_s, delay_s)
            self.repeated += delay_s > _STALLED_S

    def find_sites(self, seq: int) -> frozenset[str]:
        """Return the sites under which a sample may be evaluated: two if it was open during a move."""
        sites = {self.site}
        for move in self.moves:
            if seq >= move.first_after:
                sites = {move.site}
            elif seq >= move.first_open:
                sites |= {move.site}
        return frozenset(sites)


class BoxLoad:
    """Boxes that share some connections, as behind gateways.

    Args:
        account: The account of gateways, at the address of haproxy.
        ledgers: The boxes; all are registered with `ack`.
        per_s: Samples a second of all boxes together.

    Attributes:
        is_humid: Whether the humidity is high at all sites.
    """

    def __init__(self, account: BrokerAccount, ledgers: Sequence[BoxLedger], per_s: float) -> None:
        self._account = account
        self._per_s = per_s
        self.ledgers = ledgers
        self._by_box = {ledger.box: ledger for ledger in self.ledgers}
        self._is_paused = False
        self.is_humid = False
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
        """Return whether each box has an `ack` message for a sample that it made after a moment.

        Boxes that stop on purpose do not count.
        """
        return all(ledger.newest_acked >= moment for ledger in self.ledgers if not ledger.stops)

    def take_longest_ack_s(self) -> float:
        """Return the longest delay of an `ack` message since the last call."""
        longest = max(ledger.longest_ack_s for ledger in self.ledgers)
        for ledger in self.ledgers:
            ledger.longest_ack_s = 0.0
        return longest

    @property
    def repeated(self) -> int:
        """Samples that were acknowledged only after their box had repeated them."""
        return sum(ledger.repeated for ledger in self.ledgers)

    def pause(self) -> None:
        """Make no further samples. What is not acknowledged is still repeated."""
        self._is_paused = True

    def resume(self) -> None:
        """Make samples again."""
        self._is_paused = False

    def stop_some(self, *, is_stopped: bool) -> None:
        """Let the boxes that stop on purpose stop, or make samples again. The others make more meanwhile."""
        for ledger in self.ledgers:
            ledger.is_stopped = ledger.stops and is_stopped

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
                    timeout=_CONFIRM_S,
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
        connected = before = time.monotonic()
        due, turn = 0.0, 0
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            active = [] if self._is_paused else [each for each in group if not each.is_stopped]
            everywhere = sum(not each.is_stopped for each in self.ledgers)
            due += (now - before) * self._per_s * len(active) / max(everywhere, 1)
            before = now
            samples = []
            while due >= 1 and active:
                ledger = active[turn % len(active)]
                samples.append((ledger, ledger.make_sample(humid=self.is_humid)))
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
