"""Runs the demo's live boxes: a sample every few seconds, and one box that waits for acknowledgements."""

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import replace

from simulators import enrol
from simulators.city import payload
from simulators.demo_places import ACK_BOX, INTERVAL_S, DemoBox
from simulators.enrol import BoxPasswords
from simulators.faults import FaultyReading
from simulators.mqtt import MqttLink, topic
from simulators.patterns import measure
from simulators.rest import ApiClient
from simulators.target import BrokerTarget

_SAY_EVERY_S = 60.0
_RESEND_AFTER_S = 20.0
_KEPT = 2_000
_BATCH = 200


class LiveBox:
    """One box and its connection. `link` has to be kept up by somebody else."""

    def __init__(self, api: ApiClient, broker: BrokerTarget, place: DemoBox, passwords: BoxPasswords) -> None:
        """Prepare the box; its password is known."""
        self.place = place
        self._box = place.box()
        self._acks = place.id == ACK_BOX
        self._waiting: OrderedDict[int, tuple[float, FaultyReading]] = OrderedDict()
        self._acknowledged = 0
        self._said = time.monotonic()
        self.link = MqttLink(
            replace(broker, username=place.id, password=passwords.known[place.id]),
            identifier=place.id,
            status_of=place.id,
            subscribe=[topic(place.id, "ack")] if self._acks else (),
            receive=self._acknowledge if self._acks else None,
            renew=lambda: enrol.renew(api, place.id, passwords),
        )

    async def live(self) -> None:
        """Measure and publish until cancelled."""
        while True:
            now = time.time()
            due = (now // INTERVAL_S + 1) * INTERVAL_S
            await asyncio.sleep(due - now)
            # The number follows the time, so that it counts up over restarts too.
            reading = FaultyReading(int(due) // INTERVAL_S, int(due) * 1_000_000, measure(self._box, due))
            if self._acks:
                self._keep(reading)
            # Not waited for: while the broker is away, up to a window's measurements pile up, as in a box.
            await self.link.submit(topic(self.place.id, "telemetry"), payload([reading]))
            if self._acks:
                await self._resend()

    def _keep(self, reading: FaultyReading) -> None:
        """The broker's acknowledgement says that the broker has it; only the ack topic that it is stored."""
        self._waiting[reading.seq] = (time.monotonic(), reading)
        while len(self._waiting) > _KEPT:
            self._waiting.popitem(last=False)

    async def _resend(self) -> None:
        now = time.monotonic()
        overdue = [each for sent, each in self._waiting.values() if now - sent > _RESEND_AFTER_S][:_BATCH]
        if not overdue:
            return
        for reading in overdue:
            self._waiting[reading.seq] = (now, reading)
        print(f"{self.place.id}: {len(overdue)} samples not acknowledged in time, sent again", flush=True)
        await self.link.submit(topic(self.place.id, "telemetry"), payload(overdue))

    def _acknowledge(self, _topic: str, message: bytes) -> None:
        try:
            answer = json.loads(message)
            seqs = [*answer.get("seqs", ()), *(each["seq"] for each in answer.get("rejected", ()))]
        except (ValueError, AttributeError, TypeError, KeyError):
            print(f"{self.place.id}: an acknowledgement that cannot be read: {message[:80]!r}", flush=True)
            return
        first = self._acknowledged == 0
        for seq in seqs:
            self._acknowledged += self._waiting.pop(seq, None) is not None
        if first or time.monotonic() - self._said > _SAY_EVERY_S:
            self._said = time.monotonic()
            print(
                f"{self.place.id}: stored, says {_topic}: {seqs}; {self._acknowledged} so far, "
                f"{len(self._waiting)} waiting",
                flush=True,
            )
