"""Replays Aberdeen's recorded day as yesterday and as today, and goes on with it day after day.

Owns which day is replayed next, and when each of its samples is due. A sample keeps its local time of day.
The past is sent faster than it was measured, and what follows when its time comes: so the site lives in the
present, as the synthetic ones do. A later start goes on where this one stops, yesterday at the earliest.
Must not register anything (demo_setup.py).
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
"""Yesterday and today take four minutes at most."""
_US_PER_S: Final = 1_000_000


@dataclass(slots=True)
class DayReplay:
    """The replay of one recorded day, again and again.

    Attributes:
        replay: How samples are sent. Its stations are the recorded day; what it reached is not sent again.
        speed: Measured seconds per second, as long as samples lie in the past.
        print_line: Called with lines for people.
        clock: Seconds since 1970.
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
        """The samples that an earlier start has not sent."""
        rest = []
        for station in stations:
            after_us = self.replay.reached.get(make_box_id(self.replay.prefix, station), 0)
            samples = [sample for sample in station.samples if sample.time_us > after_us]
            if samples:
                rest.append(replace(station, samples=samples))
        return rest

    def _delays(self, first_us: int) -> Callable[[int], float]:
        """Seconds until a sample is due: when the catch-up from `first_us` reaches it, never early."""
        started = self.clock()

        def delay_s(time_us: int) -> float:
            caught_up = started + (time_us - first_us) / _US_PER_S / self.speed
            return max(time_us / _US_PER_S, caught_up) - self.clock()

        return delay_s

    def _announce(self, day: date, stations: list[RecordedStation]) -> None:
        total = sum(len(station.samples) for station in stations)
        self.print_line(
            f"Aberdeen: {total} samples of {len(stations)} stations, measured on {RECORDED_DAY}, are replayed as "
            f"of {day}; the past {self.speed:.0f} times faster"
        )
