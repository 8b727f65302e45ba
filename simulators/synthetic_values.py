"""Computes the values of a synthetic box: all metrics of its kind of site, from seed, box and time. Pure.

Metrics correlate as real ones do:

- Nitrogen oxides and noise follow the traffic.
- Ozone follows the sun, and fresh exhaust reduces it.
- Carbon dioxide follows the people in a room, with a lag.
- Finer particles are part of coarser ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from simulators import daily_cycles
from simulators.daily_cycles import LocalMoment, OutdoorWeather
from simulators.seeded_random import derive_key, draw_drift, draw_uniform

MetricValues = dict[str, float]

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_DECIMALS: Final[Mapping[str, int]] = MappingProxyType(
    {"co": 3, "pressure": 2, "temperature": 2, "co2": 0, "illuminance": 0, "battery": 0, "rssi": 0, "tvoc": 0}
)


@dataclass(frozen=True, slots=True)
class RecurringEpisode:
    """An event that recurs at one box: a lorry with its engine running, a meeting, a siren.

    Attributes:
        metric: The metric that it raises.
        amount: The increase, in the metric's unit.
        every_s: Time from one start to the next (seconds).
        lasts_s: Duration (seconds).
        after_s: Offset of all starts (seconds).
    """

    metric: str
    amount: float
    every_s: float
    lasts_s: float
    after_s: float = 0.0

    def at(self, at_s: float) -> float:
        """Compute the increase at an instant (seconds since 1970); each edge takes a tenth of `lasts_s`."""
        into = (at_s - self.after_s) % self.every_s
        if into >= self.lasts_s:
            return 0.0
        edge = max(self.lasts_s / 10, 1e-9)
        return self.amount * min(1.0, into / edge, (self.lasts_s - into) / edge)


@dataclass(frozen=True, slots=True)
class SyntheticBox:
    """A synthetic box.

    Attributes:
        id: Its id.
        kind: `street`, `office` or `airport`.
        seed: Boxes of one seed and kind share their weather.
        longitude: Degrees east.
        latitude: Degrees north.
        zone: Its time zone.
        episodes: Its recurring events.
    """

    id: str
    kind: str
    seed: int
    longitude: float
    latitude: float
    zone: ZoneInfo
    episodes: Sequence[RecurringEpisode] = ()


class BoxConditions:
    """The inputs of the formulas at one box and instant: local time, sun, weather, noise."""

    def __init__(self, box: SyntheticBox, at_s: float) -> None:
        self.now: LocalMoment = daily_cycles.make_moment(at_s, box.zone)
        self.sun = daily_cycles.sun_height(self.now, box.longitude, box.latitude)
        self.weather: OutdoorWeather = daily_cycles.simulate_weather(
            self.now, derive_key(box.seed, "weather"), self.sun
        )
        self._key = derive_key(box.seed, box.id)
        # A constant factor per box, so that no two boxes of a kind measure alike.
        self.size = 0.75 + 0.5 * draw_uniform(self._key)

    def noise(self, name: int, period_s: float) -> float:
        """Draw the box's own noise, -1 to 1; `name` numbers independent series."""
        return draw_drift(self._key + name * 7_919, self.now.at_s, period_s)

    def dice(self, name: int, period_s: float) -> float:
        """Draw a number from 0 to 1 that changes every `period_s` seconds."""
        return draw_uniform(self._key + name * 7_919, math.floor(self.now.at_s / period_s))

    def lagged(self, curve: Callable[[LocalMoment], float], hours: float) -> float:
        """Average a curve over the last hours, with exponentially decreasing weights."""
        weights = total = 0.0
        for step in range(6):
            back = step * hours / 3
            weight = math.exp(-back / hours)
            hour = self.now.hour - back
            past = LocalMoment(self.now.at_s - back * _HOUR_S, hour % 24, self.now.weekend, self.now.day, 0.0)
            total += weight * (curve(past) if hour >= 0 else 0.0)
            weights += weight
        return total / weights


def measure_values(box: SyntheticBox, at_s: float) -> MetricValues:
    """Compute the box's values at an instant (seconds since 1970), in the catalogue's units."""
    sources = BoxConditions(box, at_s)
    values = SITE_KINDS[box.kind](sources)
    for episode in box.episodes:
        values[episode.metric] += episode.at(at_s)
    return {metric: round(value, _DECIMALS.get(metric, 1)) for metric, value in values.items()}


def list_metrics(kind: str) -> frozenset[str]:
    """List the metrics that boxes of a kind measure."""
    return frozenset(
        SITE_KINDS[kind](BoxConditions(SyntheticBox("any", kind, 0, 0.0, 0.0, ZoneInfo("UTC")), 0.0))
    )


def _particles(pm10: float, fine: float) -> MetricValues:
    """Compute all particle fractions; `fine` is the share of PM10 that is PM2.5."""
    pm2_5 = pm10 * fine
    return {"pm10": pm10, "pm4": pm2_5 + (pm10 - pm2_5) * 0.45, "pm2_5": pm2_5, "pm1": pm2_5 * 0.68}


def _noise_levels(laeq: float, background: float, restless: float) -> MetricValues:
    """Derive all sound levels from the mean and the background; `restless` (0 to 1) raises the peaks."""
    la90 = min(background, laeq - 2)
    lamax = laeq + 8 + 7 * restless
    return {
        "laeq": laeq,
        "la90": la90,
        "la50": la90 + (laeq - la90) * 0.62,
        "la10": laeq + 1.5 + 2 * restless,
        "lamax": lamax,
        "lcpeak": lamax + 12 + 4 * restless,
    }


def _sum_levels(*levels: float) -> float:
    """Add the levels of several sources; energies add, not decibels."""
    return 10 * math.log10(sum(10 ** (level / 10) for level in levels))


def _outside(s: BoxConditions, shade: float) -> MetricValues:
    """Compute climate and light outdoors, and the box's battery and radio link."""
    light = 1_500 * s.sun + 98_000 * s.sun * (1 - 0.8 * s.weather.cloud) * shade
    lamps = 18.0 if s.sun <= 0 else 0.0
    return {
        "temperature": s.weather.temperature + 0.8 * s.noise(1, 2 * _HOUR_S),
        "humidity": min(100.0, s.weather.humidity + 2 * s.noise(2, _HOUR_S)),
        "pressure": s.weather.pressure + 0.15 * s.noise(3, 900),
        "illuminance": light + lamps,
        "battery": 88
        + 9 * s.sun
        - 6 * daily_cycles.bell_curve(s.now.hour, 6, 4)
        + 2 * s.noise(4, 8 * _HOUR_S),
        "rssi": -72 + 9 * s.noise(5, 600),
    }


def measure_street(s: BoxConditions) -> MetricValues:
    """Compute the values of a street: traffic drives most metrics, the sun drives ozone."""
    cars = max(0.0, daily_cycles.traffic_level(s.now) * s.size * (1 + 0.25 * s.noise(10, 5 * _MINUTE_S)))
    still = s.weather.stillness
    no2 = (9 + 38 * cars) * still
    restless = s.dice(11, _MINUTE_S)
    road = 53 + 10 * math.log10(0.05 + cars) + 14 + 1.5 * s.noise(12, 2 * _MINUTE_S)
    laeq = _sum_levels(road, 44.0)
    return {
        **_outside(s, 0.6),
        **_particles((7 + 13 * cars) * still * (1 + 0.15 * s.noise(13, 10 * _MINUTE_S)), 0.52),
        **_noise_levels(laeq, 43 + 9 * min(1.0, cars), restless),
        "no": (2 + 45 * cars**1.4) * still,
        "no2": no2,
        "o3": max(3.0, 52 + 55 * s.sun - 0.7 * no2 + 6 * s.noise(14, 3 * _HOUR_S)),
        "so2": 1.8 + 1.2 * cars * still,
        "co": 0.18 + 0.5 * cars * still,
        "benzene": 0.4 + 1.5 * cars * still,
        "nh3": 4 + 7 * cars + 1.5 * s.noise(15, 6 * _HOUR_S),
        "odour": max(0.5, 2 + 2.5 * cars + 1.2 * s.noise(16, 2 * _HOUR_S)),
    }


def measure_office(s: BoxConditions) -> MetricValues:
    """Compute the values of a room: breath of people, emissions of furniture, some outdoor air."""
    people = daily_cycles.office_occupancy(s.now) * s.size
    lately = s.lagged(daily_cycles.office_occupancy, 0.8) * s.size
    talk = 36 + 16 * people + 3 * s.noise(20, 3 * _MINUTE_S)
    warm = 20.2 + 2.3 * lately + 0.15 * (s.weather.temperature - 13) + 0.3 * s.noise(21, _HOUR_S)
    dust = (4 + 0.25 * 12 * s.weather.stillness + 7 * people) * (1 + 0.1 * s.noise(22, 900))
    return {
        **_particles(dust, 0.45),
        **_noise_levels(_sum_levels(talk, 33.0), 31 + 6 * people, s.dice(23, _MINUTE_S)),
        "co2": 425 + 460 * lately + 18 * s.noise(24, 10 * _MINUTE_S),
        "tvoc": 70 + 240 * lately + 25 * s.noise(25, 2 * _HOUR_S),
        "hcho": 11 + 9 * lately + 0.8 * (warm - 20) + 1.5 * s.noise(26, 5 * _HOUR_S),
        "temperature": warm,
        "humidity": min(
            80.0, 41 + 0.12 * (s.weather.humidity - 70) + 4 * lately + 2 * s.noise(27, 2 * _HOUR_S)
        ),
        "pressure": s.weather.pressure + 0.1 * s.noise(28, 900),
        "illuminance": 3 + 430 * min(1.0, 6 * people) + 350 * s.sun * (1 - 0.6 * s.weather.cloud),
        "odour": 1.2 + 1.5 * lately + 0.5 * s.noise(29, _HOUR_S),
        "rssi": -56 + 4 * s.noise(30, 600),
    }


def measure_airport(s: BoxConditions) -> MetricValues:
    """Compute the values of a runway's edge: single aircraft, kerosene, an open field."""
    busy = daily_cycles.flight_activity(s.now)
    # Each slot of 90 s has one aircraft or none, audible for a part of the slot.
    slot = 90.0
    overhead = s.dice(40, slot) < 0.5 * busy
    near = daily_cycles.bell_curve((s.now.at_s % slot) / slot * 24, 12, 5) if overhead else 0.0
    laeq = _sum_levels(49 + 4 * s.noise(41, 900), 42 + 30 * near * (0.9 + 0.1 * s.size))
    still = s.weather.stillness
    no2 = (7 + 24 * busy) * still * s.size
    return {
        **_outside(s, 1.0),
        **_particles((6 + 9 * busy) * still * (1 + 0.15 * s.noise(42, 10 * _MINUTE_S)), 0.6),
        **_noise_levels(laeq, 46.0, near),
        "no": (2 + 18 * busy + 14 * near) * still,
        "no2": no2,
        "o3": max(4.0, 60 + 50 * s.sun - 0.6 * no2 + 5 * s.noise(43, 3 * _HOUR_S)),
        "so2": 2 + 3.5 * busy * still,
        "co": 0.16 + 0.3 * busy * still,
        "benzene": 0.3 + 0.9 * busy * still,
        "tvoc": 45 + 120 * busy * still + 90 * near,
        "h2s": max(0.2, 0.8 + 0.5 * s.noise(44, 6 * _HOUR_S)),
        "odour": max(0.5, 2 + 5 * busy * still + 3 * near),
    }


SITE_KINDS: Final[Mapping[str, Callable[[BoxConditions], MetricValues]]] = MappingProxyType(
    {"street": measure_street, "office": measure_office, "airport": measure_airport}
)
"""The kinds of site, with the function that computes their values."""
