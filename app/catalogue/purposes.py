"""Lists the purposes that a site can declare, with the metrics and event types of each.

Each metric and each event type belongs to exactly one purpose; a test checks that. A purpose's `name` is
stable, because settings and the database store it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from app.catalogue.metrics import COLUMNS

type PurposeName = Literal[
    "air_quality",
    "noise",
    "indoor_comfort",
    "odour",
    "equipment",
    "acoustic_safety",
    "video_analytics",
]
"""The key of a purpose in settings."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose of measuring.

    Attributes:
        name: The key in settings.
        title: The display name in English.
        title_fr: The same in French.
        metrics: Its metrics, in catalogue order.
        events: Its event types (see `app.catalogue.device_event_types`).
        sensitive: Whether it must be declared with every field and approved by a second person. Purposes that
            are not sensitive are declared with each new site.
    """

    name: PurposeName
    title: str
    title_fr: str
    metrics: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    sensitive: bool = False


def _of(*names: str) -> tuple[str, ...]:
    """Sort metrics in catalogue order."""
    return tuple(sorted(names, key=COLUMNS.index))


PURPOSES: Final[tuple[Purpose, ...]] = (
    Purpose(
        "air_quality",
        "Air quality",
        "Qualité de l'air",
        _of("pm1", "pm2_5", "pm4", "pm10", "no", "no2", "o3", "so2", "co"),
    ),
    Purpose(
        "noise", "Noise", "Bruit", _of("laeq", "lamax", "lcpeak", "la10", "la50", "la90"), ("noise_peak",)
    ),
    Purpose(
        "indoor_comfort",
        "Climate and indoor air",
        "Climat et air intérieur",
        _of("co2", "tvoc", "hcho", "benzene", "temperature", "humidity", "pressure", "illuminance"),
    ),
    Purpose("odour", "Odours", "Odeurs", _of("odour", "h2s", "nh3"), ("odour",)),
    Purpose(
        "equipment",
        "State of the equipment",
        "État du matériel",
        _of("battery", "rssi"),
        ("alarm", "fault", "tamper"),
    ),
    Purpose(
        "acoustic_safety",
        "Acoustic safety",
        "Sécurité acoustique",
        events=("gunshot", "explosion", "glass_break", "impulse"),
        sensitive=True,
    ),
    Purpose(
        "video_analytics",
        "Counts and states from video analytics",
        "Comptages et états issus d'analyses vidéo",
        events=("crowd", "smoke", "intrusion", "stopped_vehicle"),
        sensitive=True,
    ),
)
"""All purposes, in display order."""

PURPOSES_BY_NAME: Final[Mapping[PurposeName, Purpose]] = MappingProxyType(
    {purpose.name: purpose for purpose in PURPOSES}
)
"""The purposes by name, read-only."""

SAMPLE_PURPOSES: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in PURPOSES if purpose.metrics)
"""The purposes that have metrics."""

EVENT_PURPOSES: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in PURPOSES if purpose.events)
"""The purposes that have event types."""


PURPOSE_BY_METRIC: Final[Mapping[str, PurposeName]] = MappingProxyType(
    {metric: purpose.name for purpose in PURPOSES for metric in purpose.metrics}
)
"""The purpose of each metric."""

PURPOSE_BY_EVENT_TYPE: Final[Mapping[str, PurposeName]] = MappingProxyType(
    {event: purpose.name for purpose in PURPOSES for event in purpose.events}
)
"""The purpose of each event type."""
