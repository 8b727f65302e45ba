"""Runs the demo's live boxes: each publishes a sample every five seconds, and one uses acknowledgements."""

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import replace

from simulators import registration
from simulators.demo_definitions import ACK_BOX, INTERVAL_S, DemoBox
from simulators.field_faults import BoxSample
from simulators.mqtt_link import MqttLink, box_topic
from simulators.registration import PasswordStore
from simulators.rest_client import ApiClient
from simulators.synthetic_city import encode_message
from simulators.synthetic_values import measure_values
from simulators.target_stack import BrokerAddress

_SAY_EVERY_S = 60.0
_RESEND_AFTER_S = 20.0
_KEPT = 2_000
_BATCH = 200


class LiveBox:
    """One box and its connection; the caller keeps `link` connected."""

    def __init__(
        self, api: ApiClient, broker: BrokerAddress, definition: DemoBox, passwords: PasswordStore
    ) -> None:
        """Prepare the box; `passwords` has its password."""
        self.definition = definition
        self._box = definition.box()
        self._acks = definition.id == ACK_BOX
        self._waiting: OrderedDict[int, tuple[float, BoxSample]] = OrderedDict()
        self._acknowledged = 0
        self._said = time.monotonic()
        self.link = MqttLink(
            replace(broker, username=definition.id, password=passwords.known[definition.id]),
            identifier=definition.id,
            status_of=definition.id,
            subscribe=[box_topic(definition.id, "ack")] if self._acks else (),
            receive=self._acknowledge if self._acks else None,
            renew=lambda: registration.renew_password(api, definition.id, passwords),
        )

    async def live(self) -> None:
        """Measure and publish until cancelled."""
        while True:
            now = time.time()
            due = (now // INTERVAL_S + 1) * INTERVAL_S
            await asyncio.sleep(due - now)
            # seq follows the time, so that it increases over restarts without a stored counter.
            reading = BoxSample(int(due) // INTERVAL_S, int(due) * 1_000_000, measure_values(self._box, due))
            if self._acks:
                self._keep(reading)
            # Not awaited: while the broker is down, samples queue up to the link's window, as in a real box.
            await self.link.submit(box_topic(self.definition.id, "telemetry"), encode_message([reading]))
            if self._acks:
                await self._resend()

    def _keep(self, reading: BoxSample) -> None:
        """Queue a sample until the ack topic says that it is stored; the broker's PUBACK does not."""
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
        print(f"{self.definition.id}: {len(overdue)} samples without acknowledgement, sent again", flush=True)
        await self.link.submit(box_topic(self.definition.id, "telemetry"), encode_message(overdue))

    def _acknowledge(self, _topic: str, message: bytes) -> None:
        try:
            answer = json.loads(message)
            seqs = [*answer.get("seqs", ()), *(each["seq"] for each in answer.get("rejected", ()))]
        except (ValueError, AttributeError, TypeError, KeyError):
            print(f"{self.definition.id}: unreadable acknowledgement: {message[:80]!r}", flush=True)
            return
        first = self._acknowledged == 0
        for seq in seqs:
            self._acknowledged += self._waiting.pop(seq, None) is not None
        if first or time.monotonic() - self._said > _SAY_EVERY_S:
            self._said = time.monotonic()
            print(
                f"{self.definition.id}: stored, says {_topic}: {seqs}; {self._acknowledged} so far, "
                f"{len(self._waiting)} waiting",
                flush=True,
            )
