"""What measurements are for, as data: groups of metrics and of types of events that a site declares.

Owns the names of purposes in English and French, and which metrics and which types of events belong to each:
every one of their catalogues to exactly one. Must not import a database nor read a clock.

A new metric of the catalogue gets its place here (a test asks for it). A purpose's `name` is stable: it is in
settings, and in the database.
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
"""What a purpose is called in settings."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """One purpose.

    Attributes:
        name: The key in settings.
        title: What people call it, in English.
        title_fr: The same in French.
        metrics: Metrics of the catalogue, in its order.
        events: Types of events that are for it (`app.catalogue.device_event_types` says what each is).
        sensitive: Whether it has to be declared with every field, and approved by a second person. The others
            are declared with each site.
    """

    name: PurposeName
    title: str
    title_fr: str
    metrics: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    sensitive: bool = False


def _of(*names: str) -> tuple[str, ...]:
    """Metrics in the order of the catalogue."""
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
        "Climate and comfort",
        "Climat et confort",
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
"""Every purpose, in the order in which they are shown."""

PURPOSES_BY_NAME: Final[Mapping[PurposeName, Purpose]] = MappingProxyType(
    {purpose.name: purpose for purpose in PURPOSES}
)
"""The purposes by name, read-only."""

SAMPLE_PURPOSES: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in PURPOSES if purpose.metrics)
"""Those that samples are for."""

EVENT_PURPOSES: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in PURPOSES if purpose.events)
"""Those that events are for."""

DEFAULT_PURPOSES: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in PURPOSES if not purpose.sensitive)
"""Those that are declared with each site."""

PURPOSE_BY_METRIC: Final[Mapping[str, PurposeName]] = MappingProxyType(
    {metric: purpose.name for purpose in PURPOSES for metric in purpose.metrics}
)
"""The purpose of each metric, by name."""

PURPOSE_BY_EVENT_TYPE: Final[Mapping[str, PurposeName]] = MappingProxyType(
    {event: purpose.name for purpose in PURPOSES for event in purpose.events}
)
"""The purpose of each type of event, by its name."""
