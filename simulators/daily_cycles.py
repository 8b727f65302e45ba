"""Models the daily and weekly cycles of a city: traffic, office hours, flights, sun, weather.

Pure functions of the time. synthetic_values.py makes measurements from them; no metric is known here.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from simulators.seeded_random import draw_drift

_SATURDAY = 5
_HOUR_S = 3_600.0
_DAY_S = 86_400.0
_TILT_DEG = 23.44


@dataclass(frozen=True, slots=True)
class LocalMoment:
    """An instant with its local date and time.

    Attributes:
        at_s: Seconds since 1970.
        hour: Local hour of the day, 0 to 24, with its fraction.
        weekend: Saturday or Sunday.
        day: Day of the year, from 1.
        utc_hour: Hour of the day in UTC, with its fraction.
    """

    at_s: float
    hour: float
    weekend: bool
    day: int
    utc_hour: float


def make_moment(at_s: float, zone: ZoneInfo) -> LocalMoment:
    """Convert an instant (seconds since 1970) to local time."""
    local = datetime.fromtimestamp(at_s, zone)
    hour = local.hour + local.minute / 60 + (local.second + local.microsecond / 1e6) / _HOUR_S
    offset = (local.utcoffset() or timedelta()).total_seconds() / _HOUR_S
    day = local.timetuple().tm_yday
    return LocalMoment(at_s, hour, local.weekday() >= _SATURDAY, day, (hour - offset) % 24)


def bell_curve(hour: float, centre: float, width: float) -> float:
    """Compute a bell curve over the hours of the day, 1 at `centre`, continued past midnight."""
    apart = abs(hour - centre)
    return math.exp(-((min(apart, 24 - apart) / width) ** 2))


def plateau_curve(hour: float, begin: float, end: float, slope: float) -> float:
    """Compute a curve that is 1 from hour `begin` to `end` and 0 outside, with edges of `slope` hours."""
    rise = 1 / (1 + math.exp(-(hour - begin) * 4 / slope))
    fall = 1 / (1 + math.exp((hour - end) * 4 / slope))
    return rise * fall


def traffic_level(now: LocalMoment) -> float:
    """Compute the street traffic, from about 0.05 at night to 1 in the evening rush hour."""
    if now.weekend:
        return 0.06 + 0.5 * bell_curve(now.hour, 14, 4.5) + 0.25 * bell_curve(now.hour, 21, 2.5)
    rush = 0.55 * bell_curve(now.hour, 8.25, 1.3) + 0.6 * bell_curve(now.hour, 17.75, 1.9)
    return 0.05 + rush + 0.35 * plateau_curve(now.hour, 7, 20, 1.5)


def office_occupancy(now: LocalMoment) -> float:
    """Compute the share of an office's staff that is present, 0 to 1, lower at lunch."""
    if now.weekend:
        return 0.03 * plateau_curve(now.hour, 9, 18, 2)
    return plateau_curve(now.hour, 8.75, 17.75, 1.2) * (1 - 0.55 * bell_curve(now.hour, 12.75, 0.6))


def flight_activity(now: LocalMoment) -> float:
    """Compute the traffic of a runway, from about 0 in the closed hours of the night to 1."""
    busy = (
        0.45
        + 0.45 * bell_curve(now.hour, 7.5, 1.2)
        + 0.25 * bell_curve(now.hour, 13, 2)
        + 0.5 * bell_curve(now.hour, 19, 2)
    )
    return busy * plateau_curve(now.hour, 6, 23, 0.6) * (0.85 if now.weekend else 1.0)


def sun_height(now: LocalMoment, longitude: float, latitude: float) -> float:
    """Compute the sine of the sun's height over the horizon, 0 by night; degrees east and north."""
    declination = -math.radians(_TILT_DEG) * math.cos(2 * math.pi * (now.day + 10) / 365)
    angle = math.radians(15 * (now.utc_hour + longitude / 15 - 12))
    north = math.radians(latitude)
    height = math.sin(north) * math.sin(declination) + math.cos(north) * math.cos(declination) * math.cos(
        angle
    )
    return max(0.0, height)


@dataclass(frozen=True, slots=True)
class OutdoorWeather:
    """The weather outside, the same for all boxes of a place.

    Attributes:
        temperature: °C.
        humidity: %RH.
        pressure: hPa.
        cloud: 0 clear to 1 overcast.
        stillness: Factor on concentrations: 0.5 in wind, 2 in still air.
    """

    temperature: float
    humidity: float
    pressure: float
    cloud: float
    stillness: float


def simulate_weather(now: LocalMoment, key: int, sun: float) -> OutdoorWeather:
    """Compute the weather of an instant from season, time of day, and fronts that pass within days."""
    season = -math.cos(2 * math.pi * (now.day - 20) / 365)
    front = draw_drift(key, now.at_s, 2.5 * _DAY_S)
    cloud = 0.5 + 0.5 * draw_drift(key + 1, now.at_s, 9 * _HOUR_S)
    # The warmest hour is in the afternoon, two to three hours after the sun's highest.
    swing = (2.5 + 3.5 * (1 - cloud)) * (bell_curve(now.hour, 15.5, 5) * 2 - 1)
    temperature = 13.5 + 8 * season + 4 * front + swing + 0.4 * draw_drift(key + 2, now.at_s, 1200)
    humidity = 72 - 2.4 * swing - 6 * season + 10 * draw_drift(key + 3, now.at_s, 1.2 * _DAY_S) - 3 * sun
    pressure = 998 - 9 * front + 4 * draw_drift(key + 4, now.at_s, 4 * _DAY_S)
    stillness = 2 ** draw_drift(key + 5, now.at_s, 8 * _HOUR_S)
    return OutdoorWeather(temperature, min(99.5, max(18.0, humidity)), pressure, cloud, stillness)
