"""Lists the metrics that boxes may send, with units, physical bounds and storage types.

The order of `CATALOGUE` is the order of the columns of `samples`. To add a metric, append an entry and write
one migration.

Bounds are inclusive and wide. They refuse values that no instrument can have measured (another unit, a
sentinel such as 65535 or -999, a sign error), never a true extreme. Concentrations begin at zero: a negative
one is a zero drift that the instrument has to correct.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

MetricKind = Literal["gauge", "level"]
MetricStorage = Literal["real", "double precision"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the catalogue.

    Attributes:
        name: The key in a sample's `values`, and the column's name.
        unit: The unit of all values, bounds and thresholds.
        description: The measured quantity, in English.
        description_fr: The same in French.
        minimum: The lowest accepted value, inclusive.
        maximum: The highest accepted value, inclusive.
        kind: `level` for sound levels in dB, which are averaged by energy; `gauge` otherwise.
        storage: The column's PostgreSQL type. `real` preserves six significant digits exactly.
        since: The migration that added the column.
    """

    name: str
    unit: str
    description: str
    description_fr: str
    minimum: float
    maximum: float
    kind: MetricKind = "gauge"
    storage: MetricStorage = "real"
    since: str = "0001"


# The quietest rooms built lie near -25 dB(A); 194 dB is where a sound wave in air reaches vacuum.
_LEVEL_MIN: Final = -30.0
_LEVEL_MAX: Final = 200.0


def _level(name: str, description: str, description_fr: str) -> Metric:
    """Return a sound level: all share unit, bounds and averaging by energy."""
    return Metric(name, "dB", description, description_fr, _LEVEL_MIN, _LEVEL_MAX, kind="level")


CATALOGUE: Final[tuple[Metric, ...]] = (
    # Dust storms have been measured above 15,000 µg/m³ of PM10, wildfire smoke above 5,000 µg/m³ of PM2.5.
    Metric("pm1", "µg/m³", "Particles up to 1 µm", "Particules jusqu'à 1 µm", 0, 20_000),
    Metric("pm2_5", "µg/m³", "Particles up to 2.5 µm", "Particules jusqu'à 2,5 µm", 0, 20_000),
    Metric("pm4", "µg/m³", "Particles up to 4 µm", "Particules jusqu'à 4 µm", 0, 50_000),
    Metric("pm10", "µg/m³", "Particles up to 10 µm", "Particules jusqu'à 10 µm", 0, 50_000),
    # Electrochemical cells reach 20 ppm of NO2 or O3 (40,000 µg/m³), and 100 ppm of SO2 near a volcano.
    Metric("no", "µg/m³", "Nitrogen monoxide", "Monoxyde d'azote", 0, 300_000),
    Metric("no2", "µg/m³", "Nitrogen dioxide", "Dioxyde d'azote", 0, 100_000),
    Metric("o3", "µg/m³", "Ozone", "Ozone", 0, 100_000),
    Metric("so2", "µg/m³", "Sulphur dioxide", "Dioxyde de soufre", 0, 300_000),
    # 10,000 ppm, the widest range of cells, equal 11,600 mg/m³.
    Metric("co", "mg/m³", "Carbon monoxide", "Monoxyde de carbone", 0, 15_000),
    # Ten per cent, which is lethal.
    Metric("co2", "ppm", "Carbon dioxide", "Dioxyde de carbone", 0, 100_000),
    # Photo-ionisation detectors end at 10,000 ppm.
    Metric(
        "tvoc",
        "ppb",
        "Volatile organic compounds, total",
        "Composés organiques volatils, total",
        0,
        10_000_000,
    ),
    Metric("h2s", "ppb", "Hydrogen sulphide", "Sulfure d'hydrogène", 0, 5_000_000),
    Metric("nh3", "ppb", "Ammonia", "Ammoniac", 0, 5_000_000),
    Metric("hcho", "ppb", "Formaldehyde", "Formaldéhyde", 0, 1_000_000),
    Metric("benzene", "µg/m³", "Benzene", "Benzène", 0, 1_000_000),
    # The coldest air measured: -89.2 °C; a metal box in the sun exceeds 80 °C.
    Metric("temperature", "°C", "Air temperature", "Température de l'air", -90, 100),
    Metric("humidity", "%RH", "Relative humidity", "Humidité relative", 0, 100),
    # From the top of Everest to below the Dead Sea. A barometer's 100237.32 Pa are eight digits in hPa.
    Metric(
        "pressure",
        "hPa",
        "Air pressure at the box",
        "Pression de l'air au boîtier",
        300,
        1_200,
        storage="double precision",
    ),
    # Full sun gives 130,000 lx.
    Metric("illuminance", "lx", "Illuminance", "Éclairement", 0, 200_000),
    _level("laeq", "Equivalent sound level, A-weighted", "Niveau sonore équivalent, pondéré A"),
    _level("lamax", "Highest sound level, A-weighted", "Niveau sonore maximal, pondéré A"),
    _level("lcpeak", "Peak sound level, C-weighted", "Niveau sonore de crête, pondéré C"),
    _level("la10", "Sound level exceeded 10 % of the time", "Niveau sonore dépassé 10 % du temps"),
    _level("la50", "Sound level exceeded 50 % of the time", "Niveau sonore dépassé 50 % du temps"),
    _level("la90", "Sound level exceeded 90 % of the time", "Niveau sonore dépassé 90 % du temps"),
    # The stack of a rendering plant exceeds a million odour units.
    Metric("odour", "ou/m³", "Odour concentration", "Concentration d'odeur", 0, 10_000_000),
    Metric("battery", "%", "State of charge of the battery", "Charge de la batterie", 0, 100),
    # LoRa receives down to -148 dBm; no box gets more than 100 mW.
    Metric("rssi", "dBm", "Strength of the radio signal", "Puissance du signal radio", -200, 20),
)
"""All metrics, in column order."""

COLUMNS: Final[tuple[str, ...]] = tuple(metric.name for metric in CATALOGUE)
"""The column names of a sample's values, in order."""

METRICS_BY_NAME: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in CATALOGUE})
"""The catalogue by metric name, read-only."""

INDEX: Final[Mapping[str, int]] = MappingProxyType({name: position for position, name in enumerate(COLUMNS)})
"""The column index of each metric."""
