"""Publishes the recorded samples of stations, each station as a box with its own credentials.

sensor_community.py reads the files, replay_verification.py compares with the database.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import batched
from statistics import fmean

from app.platform.kernel.instants import format_us
from simulators import registration
from simulators.mqtt_link import MqttLink, box_topic, keep_connected
from simulators.registration import BoxSpec, PasswordStore, SiteSpec
from simulators.rest_client import ApiClient
from simulators.sensor_community import RecordedStation, StationSample
from simulators.target_stack import BrokerAddress

STATION_ZONE = "Europe/London"
"""The time zone of the replayed stations."""
STATION_INTERVAL_S = 150
"""The time between two measurements of Sensor.Community's firmware (seconds)."""

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayPace:
    """The pace of sending.

    Attributes:
        speed: Seconds of measurement per second; 0 for as fast as the broker accepts messages.
        batch: Samples per message, 1 to 1,000; with a speed, a message is sent when its last sample is due.
        window: Messages of one box that may wait for the broker's acknowledgement.
    """

    speed: float = 0.0
    batch: int = 100
    window: int = 20


def make_box_id(prefix: str, station: RecordedStation) -> str:
    """Build the id of a station's box."""
    return f"{prefix}-{station.location}"


def make_box_specs(stations: Sequence[RecordedStation], prefix: str) -> list[BoxSpec]:
    """Build the boxes to register, one per station."""
    return [
        BoxSpec(
            make_box_id(prefix, station),
            f"Sensor.Community {station.location}: {', '.join(station.sensors)}"[:200],
            station.longitude,
            station.latitude,
            STATION_INTERVAL_S,
        )
        for station in stations
    ]


def encode_message(samples: Sequence[StationSample]) -> bytes:
    """Encode a message: one sample, or a batch."""
    entries = [
        {"seq": sample.seq, "time": format_us(sample.time_us), "values": sample.values} for sample in samples
    ]
    return json.dumps(entries[0] if len(entries) == 1 else {"samples": entries}).encode()


@dataclass(slots=True)
class StationReplay:
    """One replay.

    Attributes:
        api: Registers boxes and renews passwords.
        broker: The broker.
        stations: The stations; each has samples.
        prefix: The prefix of the boxes' ids.
        passwords: The boxes' passwords.
        pace: The pace.
        progress: Called with the number of samples of each acknowledged message.
        connect_s: Time in which all boxes must connect (seconds); None to wait without limit.
        reached: By box, the time of the newest sample that the broker acknowledged (µs).
        delay_s: Computes the wait (seconds) until a sample of a time (µs) is due; None to follow the pace.
    """

    api: ApiClient
    broker: BrokerAddress
    stations: Sequence[RecordedStation]
    prefix: str
    passwords: PasswordStore
    pace: ReplayPace
    progress: Callable[[int], None] = lambda _samples: None
    connect_s: float | None = 60.0
    reached: dict[str, int] = field(default_factory=dict)
    delay_s: Callable[[int], float] | None = None

    async def register(self, organisation: str, site_name: str) -> int:
        """Find or create organisation, site and boxes, and load the boxes' passwords.

        Returns:
            The number of created boxes.
        """
        organisation_id = await registration.find_or_create_organisation(self.api, organisation)
        longitude = round(fmean(station.longitude for station in self.stations), 4)
        latitude = round(fmean(station.latitude for station in self.stations), 4)
        spec = SiteSpec(site_name, "street", STATION_ZONE, longitude, latitude)
        site_id = await registration.find_or_create_site(self.api, spec, organisation_id)
        specs = make_box_specs(self.stations, self.prefix)
        return await registration.register_boxes(self.api, site_id, organisation_id, specs, self.passwords)

    async def run(self) -> int:
        """Send the samples of all stations concurrently.

        Returns:
            The number of messages sent.
        """
        links = [self._link(make_box_id(self.prefix, station)) for station in self.stations]
        async with keep_connected(links, wait_s=self.connect_s):
            delay_s = self.delay_s or self._by_pace()
            async with asyncio.TaskGroup() as group:
                for station, link in zip(self.stations, links, strict=True):
                    group.create_task(self._send(link, station, delay_s))
        return sum(link.published for link in links)

    def _link(self, box: str) -> MqttLink:
        return MqttLink(
            replace(self.broker, username=box, password=self.passwords.known[box]),
            window=self.pace.window,
            renew=lambda: registration.renew_password(self.api, box, self.passwords),
        )

    def _by_pace(self) -> Callable[[int], float]:
        """Compute waits from the pace: the earliest sample of all stations is due now."""
        loop, speed = asyncio.get_running_loop(), self.pace.speed
        if speed <= 0:
            return lambda _time_us: 0.0
        first_us = min(station.samples[0].time_us for station in self.stations)
        started = loop.time()
        return lambda time_us: started + (time_us - first_us) / _US_PER_S / speed - loop.time()

    async def _send(self, link: MqttLink, station: RecordedStation, delay_s: Callable[[int], float]) -> None:
        """Send one station's samples, each message when its last sample is due."""
        box = make_box_id(self.prefix, station)
        for samples in batched(station.samples, self.pace.batch):
            wait_s = delay_s(samples[-1].time_us)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = await link.submit(box_topic(box, "telemetry"), encode_message(samples))
            task.add_done_callback(partial(self._taken, box, samples))
        await link.drain()

    def _taken(self, box: str, samples: Sequence[StationSample], task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.reached[box] = max(self.reached.get(box, 0), samples[-1].time_us)
            self.progress(len(samples))
