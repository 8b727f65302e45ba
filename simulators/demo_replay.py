"""Replays Aberdeen's recorded day as yesterday, as today, and as each day that follows.

A sample retains its local time of day. Past samples are sent faster than they were measured, later ones at
their time, so that the site is as live as the synthetic ones. A later start resumes where this one stopped,
but not before yesterday.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from simulators.demo_definitions import DEMO_SITES, RECORDED_DAY
from simulators.sensor_community import RecordedStation, move_to_day
from simulators.station_replay import StationReplay, make_box_id

CATCH_UP_SPEED: Final = 720.0
"""At this speed yesterday and today take four minutes at most."""
_US_PER_S: Final = 1_000_000


@dataclass(slots=True)
class DayReplay:
    """The daily replay of one recorded day.

    Attributes:
        replay: Sends the samples. Its stations are the recorded day; samples up to `reached` are not resent.
        speed: Measured seconds per second while samples are in the past.
        print_line: Called with lines to print.
        clock: Returns seconds since 1970.
    """

    replay: StationReplay
    speed: float
    print_line: Callable[[str], None]
    clock: Callable[[], float] = time.time

    async def run(self) -> None:
        """Replay yesterday, today and each day that follows, until cancelled."""
        zone = ZoneInfo(DEMO_SITES["aberdeen"].timezone)
        day = datetime.fromtimestamp(self.clock(), zone).date() - timedelta(days=1)
        begin: Callable[[int], float] | None = None
        while True:
            stations = self._remaining(move_to_day(self.replay.stations, day, zone))
            if stations:
                begin = begin or self._delays(min(station.samples[0].time_us for station in stations))
                self._announce(day, stations)
                await replace(self.replay, stations=stations, delay_s=begin).run()
            day += timedelta(days=1)

    def _remaining(self, stations: list[RecordedStation]) -> list[RecordedStation]:
        """Select the samples that no earlier start has sent."""
        rest = []
        for station in stations:
            after_us = self.replay.reached.get(make_box_id(self.replay.prefix, station), 0)
            samples = [sample for sample in station.samples if sample.time_us > after_us]
            if samples:
                rest.append(replace(station, samples=samples))
        return rest

    def _delays(self, first_us: int) -> Callable[[int], float]:
        """Compute waits (seconds): a sample is due when the catch-up reaches it, never early."""
        started = self.clock()

        def delay_s(time_us: int) -> float:
            caught_up = started + (time_us - first_us) / _US_PER_S / self.speed
            return max(time_us / _US_PER_S, caught_up) - self.clock()

        return delay_s

    def _announce(self, day: date, stations: list[RecordedStation]) -> None:
        total = sum(len(station.samples) for station in stations)
        self.print_line(
            f"Aberdeen: {total} samples of {len(stations)} stations, measured on {RECORDED_DAY}, "
            f"are replayed as of {day}; past ones {self.speed:.0f} times faster"
        )
