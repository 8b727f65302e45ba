"""Links metrics to attributes of the Smart Data Models of FIWARE. Pure.

The models are AirQualityObserved, NoiseLevelObserved and Device. A metric that no model has is in none.
Units are codes of UN/CEFACT (Recommendation 20), as NGSI-LD demands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

AIR: Final = "AirQualityObserved"
NOISE: Final = "NoiseLevelObserved"
DEVICE: Final = "Device"
MODEL_IRIS: Final[Mapping[str, str]] = MappingProxyType(
    {
        AIR: "https://smartdatamodels.org/dataModel.Environment/AirQualityObserved",
        NOISE: "https://smartdatamodels.org/dataModel.Environment/NoiseLevelObserved",
        DEVICE: "https://smartdatamodels.org/dataModel.Device/Device",
    }
)
"""The models by their short names, in the order of lists, with their names in linked data."""
_GQ, _PPM, _PPB, _DECIBEL = "GQ", "59", "61", "2N"


@dataclass(frozen=True, slots=True)
class ModelAttribute:
    """An attribute of a model.

    Attributes:
        model: the short name of the model.
        name: the attribute.
        unit: the code of its unit.
        factor: what a value of the metric is multiplied with.
    """

    model: str
    name: str
    unit: str
    factor: float = 1


MODEL_ATTRIBUTES: Final[Mapping[str, ModelAttribute]] = MappingProxyType(
    {
        "pm1": ModelAttribute(AIR, "pm1", _GQ),
        "pm2_5": ModelAttribute(AIR, "pm25", _GQ),
        "pm4": ModelAttribute(AIR, "pm4", _GQ),
        "pm10": ModelAttribute(AIR, "pm10", _GQ),
        "no": ModelAttribute(AIR, "no", _GQ),
        "no2": ModelAttribute(AIR, "no2", _GQ),
        "o3": ModelAttribute(AIR, "o3", _GQ),
        "so2": ModelAttribute(AIR, "so2", _GQ),
        "co": ModelAttribute(AIR, "co", "GP"),
        "co2": ModelAttribute(AIR, "co2", _PPM),
        "tvoc": ModelAttribute(AIR, "volatileOrganicCompoundsTotal", _PPB),
        "h2s": ModelAttribute(AIR, "sh2", _PPB),
        "benzene": ModelAttribute(AIR, "c6h6", _GQ),
        "temperature": ModelAttribute(AIR, "temperature", "CEL"),
        # The model has a share, not a percentage.
        "humidity": ModelAttribute(AIR, "relativeHumidity", "C62", 0.01),
        "pressure": ModelAttribute(AIR, "pressure", "A97"),
        "laeq": ModelAttribute(NOISE, "LAeq", _DECIBEL),
        "lamax": ModelAttribute(NOISE, "LAmax", _DECIBEL),
    }
)
"""The attribute of each metric."""
CONTROLLED_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("pm1", "pm2_5", "pm4", "pm10", "no", "no2", "o3", "so2", "co", "co2", "tvoc", "h2s"),
                *("nh3", "hcho", "benzene", "odour"),
            ),
            "airPollution",
        ),
        **dict.fromkeys(("laeq", "lamax", "lcpeak", "la10", "la50", "la90"), "noiseLevel"),
        "temperature": "temperature",
        "humidity": "humidity",
        "pressure": "atmosphericPressure",
        "illuminance": "light",
        "battery": "batteryLife",
    }
)
"""What a Device measures, in the words of its model, by metric."""


def list_model_metrics(model: str) -> tuple[str, ...]:
    """List the metrics of a model."""
    return tuple(metric for metric, each in MODEL_ATTRIBUTES.items() if each.model == model)
