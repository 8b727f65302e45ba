"""Publishes samples of many boxes at a steady rate, at QoS 1, and keeps a ledger of them.

The ledger is small: a box's samples are numbered from 0, so that a count per box names all of them. An hour
of load needs no more memory than a minute. The broker runs throughout: a connection that ends is an error.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

import aiomqtt

from bench.publisher import BrokerAccount, encode_connect, encode_publish
from tools.rehearsals.report import RehearsalError

ALARM_EVERY: Final = 50
"""Every 50th sample of a box is above the threshold of RULE; the next one is below it."""
RULE: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}

_TICK_S: Final = 0.01
_PACKET_IDS: Final = 65_535
_PUBACK: Final = 4
_CONNACK: Final = 2
_SMALL: Final = 0x80  # the length of an answer has one byte
_NO_SUBSCRIBER: Final = 0x10
_LAST_ACKS_S: Final = 30.0


def is_alarm(index: int, seq: int) -> bool:
    """Return whether a box's sample is above the threshold. Boxes take turns."""
    return (seq + index) % ALARM_EVERY == ALARM_EVERY - 1


def encode_sample(index: int, seq: int, time_ms: int) -> bytes:
    """Encode a sample of a box."""
    value = 40.0 if is_alarm(index, seq) else 12.5
    return f'{{"seq":{seq},"time":{time_ms},"values":{{"pm2_5":{value},"temperature":21.5}}}}'.encode()


@dataclass
class MqttLoad:
    """Publishes the samples of boxes, and records them in a ledger.

    Attributes:
        account: the broker, with the account of gateways.
        boxes: their ids; the first `with_ack` of them are registered with `ack`.
        with_ack: how many wait for `ack` messages.
        per_s: samples a second of all boxes together.
        sent: samples sent, by box. They have the numbers 0 to sent - 1.
        unconfirmed: samples that the broker has not confirmed (PUBACK).
        refused: samples that the broker refused, or that it had no subscriber for.
        unacknowledged: numbers that no `ack` message has named, by box with `ack`.
        acknowledged: samples that an `ack` message named.
        longest_ack_s: the longest time from a sample to its `ack` message.
    """

    account: BrokerAccount
    boxes: list[str]
    with_ack: int
    per_s: float
    sent: dict[str, int] = field(default_factory=dict)
    unconfirmed: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    unacknowledged: dict[str, dict[int, float]] = field(default_factory=dict)
    acknowledged: int = 0
    longest_ack_s: float = 0.0

    @property
    def total(self) -> int:
        """Samples sent by all boxes."""
        return sum(self.sent.values())

    @property
    def waiting(self) -> int:
        """Samples without the `ack` message that they need."""
        return sum(map(len, self.unacknowledged.values()))

    def take_longest_ack_s(self) -> float:
        """Return the longest delay of an `ack` message since the last call."""
        longest, self.longest_ack_s = self.longest_ack_s, 0.0
        return longest

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send until the end of the block, then wait for the last acknowledgements.

        Raises:
            RehearsalError: The broker ended a connection.
        """
        self.sent = dict.fromkeys(self.boxes, 0)
        self.unacknowledged = {box: {} for box in self.boxes[: self.with_ack]}
        stop = asyncio.Event()
        reader, writer = await asyncio.open_connection(self.account.host, self.account.port)
        writer.write(encode_connect("rehearsal-load", self.account))
        async with aiomqtt.Client(
            self.account.host,
            self.account.port,
            username=self.account.username,
            password=self.account.password,
        ) as client:
            await client.subscribe("vigie/v1/+/ack", qos=1)
            reading = [asyncio.create_task(self._confirm(reader)), asyncio.create_task(self._listen(client))]
            publishing = asyncio.create_task(self._publish(writer, stop))
            try:
                yield
                stop.set()
                await publishing
                await self._wait_for_last(reading)
            finally:
                for task in (publishing, *reading):
                    task.cancel()
                await asyncio.wait({publishing, *reading})
                writer.close()
        if self.unconfirmed:
            raise RehearsalError(f"the broker did not confirm {len(self.unconfirmed)} samples")

    async def _wait_for_last(self, reading: Iterable[asyncio.Task[None]]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ACKS_S):
                while self.unconfirmed or self.waiting:
                    if any(task.done() for task in reading):
                        raise RehearsalError("the broker ended a connection of the load")
                    await asyncio.sleep(0.1)

    async def _publish(self, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
        began, done = time.monotonic(), 0
        times_ms = dict.fromkeys(self.boxes, 0)
        turns = cycle(enumerate(self.boxes))
        packet_ids = cycle(range(1, _PACKET_IDS + 1))
        while not stop.is_set():
            await asyncio.sleep(_TICK_S)
            now, time_ms = time.monotonic(), round(time.time() * 1000)
            due = int((now - began) * self.per_s) - done
            done += due
            for _ in range(due):
                index, box = next(turns)
                seq, packet_id = self.sent[box], next(packet_ids)
                self.sent[box] = seq + 1
                self.unconfirmed[packet_id] = box
                if box in self.unacknowledged:
                    self.unacknowledged[box][seq] = now
                # (box, time) is a sample's identity: two that are late together differ in their time.
                times_ms[box] = max(time_ms, times_ms[box] + 1)
                payload = encode_sample(index, seq, times_ms[box])
                writer.write(encode_publish(f"vigie/v1/{box}/telemetry", payload, packet_id))
            await writer.drain()

    async def _confirm(self, reader: asyncio.StreamReader) -> None:
        while True:
            head = await reader.readexactly(2)
            if head[1] >= _SMALL:
                raise RehearsalError(f"the broker answers {head.hex()}")
            body = await reader.readexactly(head[1])
            kind = head[0] >> 4
            if kind == _PUBACK:
                self.unconfirmed.pop(int.from_bytes(body[:2]), None)
                reason = body[2] if len(body) > 2 else 0  # noqa: PLR2004 (the packet id has two bytes)
                self.refused += reason >= _NO_SUBSCRIBER
            elif kind != _CONNACK or body[1]:
                raise RehearsalError(f"the broker answers {(head + body).hex()}")

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            now = time.monotonic()
            waiting = self.unacknowledged.get(message.topic.value.split("/")[2], {})
            for seq in json.loads(bytes(message.payload or b"{}")).get("seqs", ()):
                began = waiting.pop(seq, None)
                if began is not None:
                    self.acknowledged += 1
                    self.longest_ack_s = max(self.longest_ack_s, now - began)
