"""Sends stations' recorded samples through the broker, each station as a box with its own credentials.

Owns the pace and the payloads. Must not read files (sensor_community.py), nor the database (verify.py).
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
"""Where the replayed stations' days begin."""
STATION_INTERVAL_S = 150
"""What the firmware of Sensor.Community waits between two measurements, in seconds."""

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayPace:
    """How fast to send.

    Attributes:
        speed: Seconds of measurement per second; 0 sends as fast as the broker takes it.
        batch: Samples in one message, 1 to 1,000; with a speed a message leaves when its last sample is due.
        window: Messages of one box that may wait for the broker's acknowledgement.
    """

    speed: float = 0.0
    batch: int = 100
    window: int = 20


def make_box_id(prefix: str, station: RecordedStation) -> str:
    """The id of a station's box."""
    return f"{prefix}-{station.location}"


def make_box_specs(stations: Sequence[RecordedStation], prefix: str) -> list[BoxSpec]:
    """The stations as boxes to be registered."""
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
    """One message: a sample as it is, or a batch of several."""
    entries = [
        {"seq": sample.seq, "time": format_us(sample.time_us), "values": sample.values} for sample in samples
    ]
    return json.dumps(entries[0] if len(entries) == 1 else {"samples": entries}).encode()


@dataclass(slots=True)
class StationReplay:
    """One replay.

    Attributes:
        api: Where boxes are registered, and get new passwords.
        broker: Where the boxes connect to.
        stations: What to send; none of them without samples.
        prefix: What the boxes' ids begin with.
        passwords: The boxes' passwords.
        pace: How fast.
        progress: Called with the number of samples that the broker has just taken.
        connect_s: How long the boxes may take to connect (seconds); None: for ever.
        reached: By box, the time (µs) of the newest sample that the broker has taken.
        delay_s: Seconds from now until a sample of an instant (µs) is sent; None: as the pace says.
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
        """Make sure that organisation, site and boxes exist, and that their passwords are known.

        Returns:
            How many boxes were created.
        """
        organisation_id = await registration.find_or_create_organisation(self.api, organisation)
        longitude = round(fmean(station.longitude for station in self.stations), 4)
        latitude = round(fmean(station.latitude for station in self.stations), 4)
        spec = SiteSpec(site_name, "street", STATION_ZONE, longitude, latitude)
        site_id = await registration.find_or_create_site(self.api, spec, organisation_id)
        specs = make_box_specs(self.stations, self.prefix)
        return await registration.register_boxes(self.api, site_id, organisation_id, specs, self.passwords)

    async def run(self) -> int:
        """Send every station's samples, all stations at once.

        Returns:
            Messages sent.
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
        """Delays that begin with the earliest sample of all stations, now."""
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
