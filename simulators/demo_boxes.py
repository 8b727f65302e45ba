"""The demo's synthetic boxes, live: a sample every few seconds, and one that waits for acknowledgements."""

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
    """One box and its connection. `link` has to be kept up by somebody else."""

    def __init__(
        self, api: ApiClient, broker: BrokerAddress, place: DemoBox, passwords: PasswordStore
    ) -> None:
        """Prepare the box; its password is known."""
        self.place = place
        self._box = place.box()
        self._acks = place.id == ACK_BOX
        self._waiting: OrderedDict[int, tuple[float, BoxSample]] = OrderedDict()
        self._acknowledged = 0
        self._said = time.monotonic()
        self.link = MqttLink(
            replace(broker, username=place.id, password=passwords.known[place.id]),
            identifier=place.id,
            status_of=place.id,
            subscribe=[box_topic(place.id, "ack")] if self._acks else (),
            receive=self._acknowledge if self._acks else None,
            renew=lambda: registration.renew_password(api, place.id, passwords),
        )

    async def live(self) -> None:
        """Measure and publish until cancelled."""
        while True:
            now = time.time()
            due = (now // INTERVAL_S + 1) * INTERVAL_S
            await asyncio.sleep(due - now)
            # The number follows the time, so that it counts up over restarts too.
            reading = BoxSample(int(due) // INTERVAL_S, int(due) * 1_000_000, measure_values(self._box, due))
            if self._acks:
                self._keep(reading)
            # Not waited for: while the broker is away, up to a window's measurements pile up, as in a box.
            await self.link.submit(box_topic(self.place.id, "telemetry"), encode_message([reading]))
            if self._acks:
                await self._resend()

    def _keep(self, reading: BoxSample) -> None:
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
        await self.link.submit(box_topic(self.place.id, "telemetry"), encode_message(overdue))

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
