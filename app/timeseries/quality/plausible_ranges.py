"""Lists the plausible limits of each metric, such as measuring range and flat-line time. Pure.

Flags depend on these numbers. If you change one, increment `sample_flagging.FLAGS_VERSION`: the flags of
stored samples change with it.

Ranges are those of typical instruments, or of the type approval of analysers. They are narrower than the
bounds of the catalogue: a value outside is stored, and flagged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class PlausibleLimits:
    """The plausible limits of a metric.

    Attributes:
        low, high: its measuring range, inclusive, in the metric's unit; None: no limit is known.
        why: the source of the range.
        spike_floor: the least distance of a spike from its neighbours' median; None: spikes are not flagged.
        flat_s: how long a value may stay the same (s); None: without limit.
        rests: values that may stay the same without limit.
        warm_up_s: how long the instrument is unreliable after a gap (s).
    """

    low: float | None = None
    high: float | None = None
    why: str = ""
    spike_floor: float | None = None
    flat_s: int | None = None
    rests: frozenset[float] = frozenset()
    warm_up_s: int = 0


_MINUTE: Final = 60
_HOUR: Final = 3_600
# A gas below the detection limit reads zero for as long as the air is clean.
_ZERO: Final = frozenset({0.0})
_SPS30: Final = "Sensirion SPS30: 0 to 1,000 µg/m³"
_LEVELS: Final = "noise floor of good microphones, acoustic overload of MEMS ones (130 dB)"


def _dust(floor: float, high: float = 1_000.0, why: str = _SPS30) -> PlausibleLimits:
    # Fan and laser: SPS30 up to 30 s, Plantower PMS5003 30 s at least. A broken one stays at 0.
    return PlausibleLimits(0.0, high, why, floor, 4 * _HOUR, warm_up_s=2 * _MINUTE)


def _cell(high: float, why: str, floor: float, *, hours: int = 4) -> PlausibleLimits:
    # Electrochemical cells drift for about an hour after a loss of bias voltage.
    return PlausibleLimits(0.0, high, why, floor, hours * _HOUR, _ZERO, _HOUR)


def _level(
    floor: float | None, low: float = 20.0, high: float = 130.0, why: str = _LEVELS
) -> PlausibleLimits:
    return PlausibleLimits(low, high, why, floor, _HOUR)


PLAUSIBLE_LIMITS: Final[Mapping[str, PlausibleLimits]] = MappingProxyType(
    {
        "pm1": _dust(10.0),
        "pm2_5": _dust(10.0),
        "pm4": _dust(15.0),
        "pm10": _dust(20.0, 2_000.0, "Nova SDS011: up to 1,999.9 µg/m³"),
        "no": _cell(1_200.0, "EN 14211: certification range", 40.0),
        "no2": _cell(500.0, "EN 14211: certification range", 30.0),
        "o3": _cell(500.0, "EN 14625: certification range", 30.0),
        "so2": _cell(1_000.0, "EN 14212: certification range", 40.0),
        "co": _cell(100.0, "EN 14626: certification range", 2.0, hours=6),
        # Outdoor air never has less than 350 ppm. Self-calibrating sensors rest at their baseline of 400.
        "co2": PlausibleLimits(
            350.0,
            5_000.0,
            "outdoor air has more; Sensirion SCD41: up to 5,000 ppm",
            150.0,
            2 * _HOUR,
            frozenset({400.0}),
            3 * _MINUTE,
        ),
        # A heated film of metal oxide.
        "tvoc": PlausibleLimits(
            0.0, 60_000.0, "Sensirion SGP30: up to 60,000 ppb", 200.0, 4 * _HOUR, _ZERO, 15 * _MINUTE
        ),
        "h2s": _cell(100_000.0, "cells for outdoor use: up to 100 ppm", 50.0, hours=6),
        "nh3": _cell(100_000.0, "cells for outdoor use: up to 100 ppm", 100.0, hours=6),
        "hcho": _cell(1_000.0, "Sensirion SFA30: up to 1,000 ppb", 50.0, hours=6),
        "benzene": _cell(50.0, "EN 14662-3: certification range", 5.0, hours=6),
        # The hottest air ever measured had 56.7 °C; a warmer box stands in the sun.
        "temperature": PlausibleLimits(
            -40.0, 60.0, "Bosch BME280: from -40 °C; no air is warmer", 2.0, 6 * _HOUR
        ),
        # In fog it stays at the end of its range (99.9 for a DHT22).
        "humidity": PlausibleLimits(
            1.0, 100.0, "a sensor that says 0 is broken or away", 10.0, 6 * _HOUR, frozenset({99.9, 100.0})
        ),
        # Some boxes send whole hectopascals.
        "pressure": PlausibleLimits(
            500.0, 1_085.0, "from the highest town to the highest pressure measured", 1.5, 12 * _HOUR
        ),
        # Clouds and shadows cause real spikes.
        "illuminance": PlausibleLimits(0.0, 130_000.0, "full sun", None, 2 * _HOUR, _ZERO),
        "laeq": _level(20.0),
        # These two metrics record single events, hence no spikes.
        "lamax": _level(None, high=140.0),
        "lcpeak": _level(None, 40.0, 145.0, "usual range of class 1 meters; 140 dB(C) is the limit at work"),
        "la10": _level(15.0),
        "la50": _level(10.0),
        "la90": _level(8.0),
        # There is no agreed range, and plumes cause real spikes.
        "odour": PlausibleLimits(0.0),
        "battery": PlausibleLimits(0.0, 100.0, "a full battery", 15.0),
        "rssi": PlausibleLimits(-150.0, -20.0, "from LoRa's sensitivity to an antenna beside the box"),
    }
)
"""The limits of each metric of the catalogue."""

NO_PLAUSIBLE_LIMITS: Final = PlausibleLimits()
"""The limits of an unknown metric: only late samples are flagged."""
