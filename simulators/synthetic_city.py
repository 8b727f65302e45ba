"""Publishes the samples of a synthetic city by MQTT: any number of boxes, live or at full speed.

This module decides the pace and the publishing account. The values come from synthetic_values.py, the
faults from field_faults.py.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from typing import Final
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import format_us
from simulators import registration
from simulators.field_faults import BoxSample, FaultCounts, FaultShares, FaultyBox
from simulators.mqtt_link import MqttLink, box_topic, keep_connected
from simulators.registration import BoxSpec, PasswordStore, SiteSpec
from simulators.rest_client import ApiClient
from simulators.seeded_random import derive_key, draw_uniform
from simulators.synthetic_values import SITE_KINDS, SyntheticBox, measure_values
from simulators.target_stack import BrokerAddress

_US_PER_S: Final = 1_000_000
_ZONE: Final = "Europe/Paris"
_CENTRES: Final = {"street": (1.4442, 43.6047), "office": (1.4320, 43.6112), "airport": (1.3638, 43.6291)}
_SPREAD_DEG: Final = 0.02
_CONNECT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class CityPlan:
    """The boxes to simulate.

    Attributes:
        boxes: The number of boxes.
        kinds: Their kinds of site, assigned in turn.
        prefix: The prefix of the boxes' ids.
        seed: The same seed gives the same values at the same instants.
        interval_s: Measurement time between two samples of a box (seconds).
        faults: The faults to inject.
    """

    boxes: int
    kinds: Sequence[str] = tuple(SITE_KINDS)
    prefix: str = "city"
    seed: int = 1
    interval_s: float = 60.0
    faults: FaultShares = field(default_factory=FaultShares)

    def members(self) -> list[SyntheticBox]:
        """List the boxes, each with its own location."""
        zone = ZoneInfo(_ZONE)
        kinds = cycle(self.kinds)
        return [self._member(number, next(kinds), zone) for number in range(1, self.boxes + 1)]

    def _member(self, number: int, kind: str, zone: ZoneInfo) -> SyntheticBox:
        name = f"{self.prefix}-{number:04d}"
        key = derive_key(self.seed, name, "place")
        longitude, latitude = _CENTRES[kind]
        longitude += _SPREAD_DEG * (draw_uniform(key, 1) - 0.5)
        latitude += _SPREAD_DEG * (draw_uniform(key, 2) - 0.5)
        return SyntheticBox(name, kind, self.seed, round(longitude, 5), round(latitude, 5), zone)

    def phase_us(self, box: str) -> int:
        """Return a box's offset in the interval (µs, whole milliseconds), which spreads the load."""
        return int(draw_uniform(derive_key(self.seed, box, "phase")) * self.interval_s * 1_000) * 1_000


@dataclass(frozen=True, slots=True)
class CityPace:
    """The timing of a run.

    Attributes:
        start_us: The time of the first samples (µs since 1970).
        speed: Seconds of measurement per second; 0 for as fast as the broker accepts messages.
        count: Samples per box; None until cancelled.
        batch: Samples per message.
        rate: Largest number of messages per second of all boxes together; None without a limit.
        window: Messages of one connection that may wait for the broker's acknowledgement.
    """

    start_us: int
    speed: float = 1.0
    count: int | None = None
    batch: int = 1
    rate: float | None = None
    window: int = 20


class RateThrottle:
    """Limits callers to `rate` a second, evenly spaced; None does not limit."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = 0.0

    async def wait_turn(self) -> None:
        """Wait until the caller may continue."""
        if not self._gap:
            return
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now) + self._gap
        if (wait := self._next - self._gap - now) > 0:
            await asyncio.sleep(wait)


def encode_message(readings: Sequence[BoxSample]) -> bytes:
    """Encode a message: one sample, or a batch."""
    entries = [
        {"seq": reading.seq, "time": format_us(reading.time_us), "values": reading.values}
        for reading in readings
    ]
    return json.dumps(entries[0] if len(entries) == 1 else {"samples": entries}).encode()


def generate_messages(
    city: CityPlan, box: SyntheticBox, pace: CityPace, faulty: FaultyBox
) -> Iterator[tuple[int, list[BoxSample]]]:
    """Yield a box's messages, each with its time of sending (µs); endless if `pace.count` is None."""
    phase = city.phase_us(box.id)
    waiting: list[BoxSample] = []
    seq = 0
    time_us = pace.start_us + phase
    while pace.count is None or seq < pace.count:
        time_us = pace.start_us + phase + round(seq * city.interval_s * _US_PER_S)
        values = {} if faulty.is_silent(seq) else measure_values(box, time_us / _US_PER_S)
        for message in faulty.apply_faults(seq, time_us, values):
            waiting.extend(message)
            if len(waiting) >= pace.batch:
                yield time_us, waiting
                waiting = []
        seq += 1
    waiting.extend(reading for message in faulty.release_held() for reading in message)
    if waiting:
        yield time_us, waiting


@dataclass(slots=True)
class CityRun:
    """One run of a city.

    Attributes:
        api: Registers boxes and renews passwords.
        broker: The broker, with the gateway's account.
        city: The boxes.
        pace: The timing.
        passwords: The boxes' passwords; None to publish with the gateway's account.
        progress: Called with the number of samples of each acknowledged message.
        counts: Counts of samples and faults.
        messages: Number of messages that the broker acknowledged.
    """

    api: ApiClient
    broker: BrokerAddress
    city: CityPlan
    pace: CityPace
    passwords: PasswordStore | None = None
    progress: Callable[[int], None] = lambda _samples: None
    counts: FaultCounts = field(default_factory=FaultCounts)
    messages: int = 0

    async def register(self, organisation: str) -> int:
        """Find or create the organisation, a site of each kind and the boxes.

        Returns:
            The number of created boxes.
        """
        organisation_id = await registration.find_or_create_organisation(self.api, organisation)
        members = self.city.members()
        created = 0
        for kind in dict.fromkeys(self.city.kinds):
            spec = SiteSpec(f"Synthetic {kind}", kind, _ZONE, *_CENTRES[kind])
            site_id = await registration.find_or_create_site(self.api, spec, organisation_id)
            specs = [self._spec(box) for box in members if box.kind == kind]
            created += await registration.register_boxes(
                self.api, site_id, organisation_id, specs, self.passwords
            )
        return created

    def _spec(self, box: SyntheticBox) -> BoxSpec:
        interval_s = max(1, round(self.city.interval_s))
        return BoxSpec(box.id, f"Synthetic {box.kind} box", box.longitude, box.latitude, interval_s)

    async def run(self) -> None:
        """Publish until the count is reached, or until cancelled."""
        members = self.city.members()
        shared = None if self.passwords is not None else MqttLink(self.broker, window=self.pace.window)
        links = [shared or self._own_link(box.id) for box in members]
        throttle = RateThrottle(self.pace.rate)
        async with keep_connected([shared] if shared else links, wait_s=_CONNECT_S):
            started = asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as group:
                for box, link in zip(members, links, strict=True):
                    group.create_task(self._publish(box, link, throttle, started))

    def _own_link(self, box: str) -> MqttLink:
        passwords = self.passwords
        if passwords is None:
            raise RuntimeError("the boxes' passwords are not known")
        return MqttLink(
            replace(self.broker, username=box, password=passwords.known[box]),
            window=self.pace.window,
            status_of=box,
            renew=lambda: registration.renew_password(self.api, box, passwords),
        )

    async def _publish(
        self, box: SyntheticBox, link: MqttLink, throttle: RateThrottle, started: float
    ) -> None:
        loop = asyncio.get_running_loop()
        faulty = FaultyBox(self.city.seed, box.id, self.city.faults, self.counts)
        under_way: set[asyncio.Task[None]] = set()
        for time_us, readings in generate_messages(self.city, box, self.pace, faulty):
            if self.pace.speed > 0:
                due = started + (time_us - self.pace.start_us) / _US_PER_S / self.pace.speed
                await asyncio.sleep(max(0.0, due - loop.time()))
            await throttle.wait_turn()
            task = await link.submit(box_topic(box.id, "telemetry"), encode_message(readings))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(partial(self._taken, len(readings)))
        await asyncio.gather(*under_way)

    def _taken(self, samples: int, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.messages += 1
            self.progress(samples)
