"""Links metrics to published vocabularies, and gives the UCUM codes of their units. Pure.

Definitions of pollutants and of weather are of the European Environment Agency's data dictionary (Eionet),
which the air quality directives use for reporting. Those of sound and light are quantity kinds of QUDT. A
metric without a public definition has an address of Vigie's own catalogue (None here).

Units have their code of UCUM (Unified Code for Units of Measure) and its address in the OGC's register.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from app.catalogue.metrics import METRICS_BY_NAME

_POLLUTANT: Final = "http://dd.eionet.europa.eu/vocabulary/aq/pollutant/"
_WEATHER: Final = "http://dd.eionet.europa.eu/vocabulary/aq/meteoparameter/"
_QUANTITY: Final = "http://qudt.org/vocab/quantitykind/"
_UCUM: Final = "http://www.opengis.net/def/uom/UCUM/"
MEASUREMENT_TYPE: Final = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
"""The OGC's type of an observation whose result is a number with a unit."""

METRIC_DEFINITIONS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "pm1": f"{_POLLUTANT}6002",
        "pm2_5": f"{_POLLUTANT}6001",
        # Eionet has no code for PM4.
        "pm4": None,
        "pm10": f"{_POLLUTANT}5",
        "no": f"{_POLLUTANT}38",
        "no2": f"{_POLLUTANT}8",
        "o3": f"{_POLLUTANT}7",
        "so2": f"{_POLLUTANT}1",
        "co": f"{_POLLUTANT}10",
        "co2": f"{_POLLUTANT}71",
        "tvoc": None,
        "h2s": f"{_POLLUTANT}11",
        "nh3": f"{_POLLUTANT}35",
        "hcho": f"{_POLLUTANT}25",
        "benzene": f"{_POLLUTANT}20",
        "temperature": f"{_WEATHER}54",
        "humidity": f"{_WEATHER}58",
        "pressure": f"{_QUANTITY}AtmosphericPressure",
        "illuminance": f"{_QUANTITY}Illuminance",
        **dict.fromkeys(
            ("laeq", "lamax", "lcpeak", "la10", "la50", "la90"), f"{_QUANTITY}SoundPressureLevel"
        ),
        "odour": None,
        "battery": None,
        "rssi": None,
    }
)
"""The address of each metric's definition; None: no vocabulary that was found defines it."""


@dataclass(frozen=True, slots=True)
class UcumUnit:
    """A unit of the catalogue in UCUM.

    Attributes:
        name: The English name.
        code: The code of UCUM, case-sensitive.
    """

    name: str
    code: str

    @property
    def definition(self) -> str:
        """The address of its definition in the OGC's register."""
        return _UCUM + quote(self.code, safe="/")


UCUM_UNITS: Final[Mapping[str, UcumUnit]] = MappingProxyType(
    {
        "µg/m³": UcumUnit("microgram per cubic metre", "ug/m3"),
        "mg/m³": UcumUnit("milligram per cubic metre", "mg/m3"),
        "ppm": UcumUnit("parts per million", "[ppm]"),
        "ppb": UcumUnit("parts per billion", "[ppb]"),
        "°C": UcumUnit("degree Celsius", "Cel"),
        "%RH": UcumUnit("percent", "%"),
        "%": UcumUnit("percent", "%"),
        "hPa": UcumUnit("hectopascal", "hPa"),
        "lx": UcumUnit("lux", "lx"),
        "dB": UcumUnit("decibel, sound pressure level", "dB[SPL]"),
        "ou/m³": UcumUnit("odour unit per cubic metre", "{odour_unit}/m3"),
        "dBm": UcumUnit("decibel-milliwatt", "{dBm}"),
    }
)
"""The units of the catalogue by their symbol. UCUM has no level over a milliwatt: an annotation names it."""


def get_metric_unit(metric: str) -> UcumUnit:
    """Return the unit of a metric of the catalogue."""
    return UCUM_UNITS[METRICS_BY_NAME[metric].unit]
