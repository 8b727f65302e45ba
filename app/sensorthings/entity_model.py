"""Defines the entity types of the sensing profile, their properties and their navigation links. Pure.

Keys within Vigie: box-level entities (Thing, Location, HistoricalLocation, Sensor, FeatureOfInterest) have
one instance for each box. A Datastream is a metric of a box, raw or as hourly means. An Observation is a
value of a Datastream at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS, INDEX
from app.catalogue.sensorthings_ids import KIND_LENGTH, TIME_LENGTH


@dataclass(frozen=True, slots=True)
class EntityType:
    """An entity type.

    Attributes:
        name: Its singular name.
        set_name: The name of its entity set.
        properties: Its properties in the order of JSON, without `id`.
        links: Navigation link → entity type. A plural link leads to a collection.
        is_box_level: Whether it has one instance for each box.
    """

    name: str
    set_name: str
    properties: tuple[str, ...]
    links: Mapping[str, str]
    is_box_level: bool = True


def _type(
    name: str, set_name: str, properties: str, links: Mapping[str, str], *, is_box_level: bool = True
) -> EntityType:
    return EntityType(name, set_name, tuple(properties.split()), MappingProxyType(dict(links)), is_box_level)


_ALL: Final = (
    _type(
        "Thing",
        "Things",
        "name description properties",
        {
            "Locations": "Location",
            "HistoricalLocations": "HistoricalLocation",
            "Datastreams": "Datastream",
        },
    ),
    _type(
        "Location",
        "Locations",
        "name description encodingType location properties",
        {"Things": "Thing", "HistoricalLocations": "HistoricalLocation"},
    ),
    _type("HistoricalLocation", "HistoricalLocations", "time", {"Thing": "Thing", "Locations": "Location"}),
    _type(
        "Datastream",
        "Datastreams",
        "name description observationType unitOfMeasurement observedArea phenomenonTime resultTime "
        "properties",
        {
            "Thing": "Thing",
            "Sensor": "Sensor",
            "ObservedProperty": "ObservedProperty",
            "Observations": "Observation",
        },
        is_box_level=False,
    ),
    _type(
        "Sensor",
        "Sensors",
        "name description encodingType metadata properties",
        {"Datastreams": "Datastream"},
    ),
    _type(
        "ObservedProperty",
        "ObservedProperties",
        "name definition description properties",
        {"Datastreams": "Datastream"},
        is_box_level=False,
    ),
    _type(
        "Observation",
        "Observations",
        "phenomenonTime resultTime result resultQuality validTime parameters",
        {"Datastream": "Datastream", "FeatureOfInterest": "FeatureOfInterest"},
        is_box_level=False,
    ),
    _type(
        "FeatureOfInterest",
        "FeaturesOfInterest",
        "name description encodingType feature properties",
        {"Observations": "Observation"},
    ),
)
ENTITY_TYPES: Final[Mapping[str, EntityType]] = MappingProxyType({each.name: each for each in _ALL})
"""The entity types by name."""
ENTITY_SETS: Final[Mapping[str, EntityType]] = MappingProxyType({each.set_name: each for each in _ALL})
"""The entity types by the name of their entity set."""
OBSERVATION: Final = ENTITY_TYPES["Observation"]
DATASTREAM: Final = ENTITY_TYPES["Datastream"]
OBSERVED_DATASTREAM: Final = replace(
    DATASTREAM,
    links=MappingProxyType({**DATASTREAM.links, "FeatureOfInterest": "FeatureOfInterest"}),
)
"""A Datastream with the feature of interest of its Observations: filters of Observations select these."""


def is_collection(link: str) -> bool:
    """Return whether a navigation link leads to a collection."""
    return link in ENTITY_SETS


def get_target(entity: EntityType, link: str) -> EntityType:
    """Return the entity type that a navigation link leads to (KeyError)."""
    return ENTITY_TYPES[entity.links[link]]


class EntityKey(NamedTuple):
    """The key of an entity within Vigie. Parts that its type does not have are None.

    Attributes:
        box_key: The box.
        metric: The metric of a Datastream, an ObservedProperty or an Observation.
        hourly: Whether the Datastream has hourly means.
        time_us: The time of an Observation (µs since the epoch); of an hour its beginning.
    """

    box_key: int | None = None
    metric: str | None = None
    hourly: bool | None = None
    time_us: int | None = None


def parse_box_id(text: str) -> str | None:
    """Return the number of the box that an id begins with; None: no box can have it."""
    if not _is_digits(text) or int(text) >= 16**_NUMBER_LENGTH:
        return None
    return f"{int(text):0{_NUMBER_LENGTH}x}"


class DatastreamId(NamedTuple):
    """The parts of a Datastream's id."""

    number: str
    metric: str
    hourly: bool

    @classmethod
    def parse(cls, text: str) -> "DatastreamId | None":
        """Parse an id; None: no Datastream can have it."""
        number = parse_box_id(text[:-KIND_LENGTH])
        if number is None or not _is_digits(text[-KIND_LENGTH:]):
            return None
        place, hourly = divmod(int(text[-KIND_LENGTH:]), 2)
        return cls(number, COLUMNS[place], bool(hourly)) if place < len(COLUMNS) else None


class ObservationId(NamedTuple):
    """The parts of an Observation's id: the id of its Datastream, and its time (µs since the epoch)."""

    datastream: str
    time_us: int

    @classmethod
    def parse(cls, text: str) -> "ObservationId | None":
        """Parse an id; None: no Observation can have it."""
        if (
            not _is_digits(text)
            or len(text) <= TIME_LENGTH
            or DatastreamId.parse(text[:-TIME_LENGTH]) is None
        ):
            return None
        return cls(text[:-TIME_LENGTH], int(text[-TIME_LENGTH:]))


def make_property_id(metric: str) -> str:
    """Return the id of an ObservedProperty: the place of its metric in the catalogue, from 1."""
    return str(INDEX[metric] + 1)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST


_NUMBER_LENGTH: Final = 12
_LONGEST: Final = 40
