"""Turns entities into the JSON of SensorThings. Pure."""

from collections.abc import Callable, Mapping, Sequence
from math import cos, floor, radians
from typing import Any, Final

from app.catalogue.purposes import PURPOSES_BY_NAME
from app.catalogue.sensorthings_ids import make_observation_id
from app.catalogue.vocabularies import MEASUREMENT_TYPE, METRIC_DEFINITIONS, UCUM_UNITS
from app.platform.kernel.instants import HOUR_US, format_us, from_datetime
from app.sensorthings.entity_model import OBSERVATION, EntityType
from app.sensorthings.query_tree import QueryOptions
from app.sensorthings.relations import GEOJSON

type Row = Mapping[str, Any]
_SHARED: Final = {
    "site": "site",
    "siteKind": "site_kind",
    "timezone": "timezone",
    "address": "address",
    "operator": "operator",
    "licence": "licence",
    "precisionMetres": "precision_m",
    "box": "box",
    "kind": "kind",
    "firmware": "firmware",
    "intervalSeconds": "interval_s",
}


class EntityFormatter:
    """Formats entities.

    Args:
        root: The absolute address of the service root.
        base: The absolute address of the installation.
        purposes: By site, the purposes that are shown, in order.
    """

    def __init__(self, root: str, base: str, purposes: Mapping[Any, Sequence[Row]] | None = None) -> None:
        self.root = root
        self.base = base
        self.purposes = purposes or {}
        self._builders: dict[str, Callable[[Row], dict[str, Any]]] = {
            "Thing": self._thing,
            "Location": self._location,
            "HistoricalLocation": self._historical_location,
            "Datastream": self._datastream,
            "Sensor": self._sensor,
            "ObservedProperty": self._observed_property,
            "FeatureOfInterest": self._feature,
        }

    def address(self, entity: EntityType, identifier: str) -> str:
        """Return the address of an entity."""
        return f"{self.root}/{entity.set_name}('{identifier}')"

    def format(self, entity: EntityType, row: Row, options: QueryOptions) -> dict[str, Any]:
        """Format an entity that is no Observation, with the properties that `$select` names."""
        return self.finish(entity, row["$id"], self._builders[entity.name](row), options)

    def finish(
        self, entity: EntityType, identifier: str, properties: dict[str, Any], options: QueryOptions
    ) -> dict[str, Any]:
        """Add id and links to properties, as far as `$select` names them."""
        address = self.address(entity, identifier)
        whole: dict[str, Any] = {"@iot.selfLink": address, "@iot.id": identifier}
        if options.select is None:
            whole |= properties
            whole |= {
                f"{link}@iot.navigationLink": f"{address}/{link}"
                for link in entity.links
                if link not in options.expand
            }
            return whole
        chosen: dict[str, Any] = {}
        for path in options.select:
            _copy_path(path.split("/"), properties, chosen)
            if path in entity.links and path not in options.expand:
                chosen[f"{path}@iot.navigationLink"] = f"{address}/{path}"
            if path in {"id", "selfLink"}:
                chosen[f"@iot.{path}"] = whole[f"@iot.{path}"]
        return chosen

    def _properties(self, row: Row) -> dict[str, Any]:
        shown = {name: row[column] for name, column in _SHARED.items() if row.get(column) is not None}
        shown["siteId"] = str(row["site_id"])
        shown["registerNumber"] = row["number"]
        shown["register"] = f"{self.base}/public/sites/{row['site_id']}"
        shown["purposes"] = [_purpose(each) for each in self.purposes.get(row["site_id"], ())]
        return shown

    def _named(self, row: Row) -> dict[str, Any]:
        return {"name": row["$name"], "description": row["$description"]}

    def _thing(self, row: Row) -> dict[str, Any]:
        return {**self._named(row), "properties": self._properties(row)}

    def _location(self, row: Row) -> dict[str, Any]:
        return {
            **self._named(row),
            "encodingType": GEOJSON,
            "location": _point(row),
            "properties": {"precisionMetres": row["precision_m"]} if row["precision_m"] is not None else {},
        }

    def _historical_location(self, row: Row) -> dict[str, Any]:
        return {"time": format_us(from_datetime(row["$time"]))}

    def _datastream(self, row: Row) -> dict[str, Any]:
        metric = row["metric"]
        end = row["newest_us"]
        if row["hourly"]:
            end = end // HOUR_US * HOUR_US
        properties = {
            "metric": metric,
            "purpose": row["purpose"],
            "ucum": UCUM_UNITS[row["unit"]].code,
            **({"aggregation": "hourly mean", "intervalSeconds": 3600} if row["hourly"] else {}),
        }
        times = {}
        if (begin := row.get("begin_us")) is not None:
            # The result of an hour is of its end.
            begins = {"phenomenonTime": begin, "resultTime": begin + HOUR_US if row["hourly"] else begin}
            times = {name: f"{format_us(min(at, end))}/{format_us(end)}" for name, at in begins.items()}
        shared = self._properties(row)
        purposes = [each for each in shared.pop("purposes") if each["purpose"] == row["purpose"]]
        return {
            "name": row["$name"],
            "description": row["$description"],
            "observationType": MEASUREMENT_TYPE,
            "unitOfMeasurement": {
                "name": row["unit_name"],
                "symbol": row["unit"],
                "definition": row["unit_definition"],
            },
            "observedArea": _area(row),
            **times,
            "properties": {**shared, **properties, "purposes": purposes},
        }

    def _sensor(self, row: Row) -> dict[str, Any]:
        kinds = {name: row[name] for name in ("kind", "firmware", "interval_s") if row[name] is not None}
        return {
            **self._named(row),
            "encodingType": "text/html",
            "metadata": f"{self.base}/docs/guides/boxes",
            "properties": {
                {"interval_s": "intervalSeconds"}.get(name, name): value for name, value in kinds.items()
            },
        }

    def _observed_property(self, row: Row) -> dict[str, Any]:
        metric = row["name"]
        return {
            "name": row["title"],
            "definition": METRIC_DEFINITIONS[metric]
            or f"{self.base}/docs/guides/sensorthings#observed-properties",
            "description": row["title"],
            "properties": {"metric": metric, "purpose": row["purpose"], "unit": row["unit"]},
        }

    def _feature(self, row: Row) -> dict[str, Any]:
        return {**self._named(row), "encodingType": GEOJSON, "feature": _point(row), "properties": {}}

    def format_observation(
        self,
        datastream: str,
        time_us: int,
        result: float,
        *,
        hourly: bool,
        flags: Sequence[str] | None,
        options: QueryOptions,
    ) -> dict[str, Any]:
        """Format an Observation of a Datastream; `flags` are its quality flags, if they were evaluated."""
        time = format_us(time_us)
        end = format_us(time_us + HOUR_US) if hourly else time
        properties: dict[str, Any] = {
            "phenomenonTime": f"{time}/{end}" if hourly else time,
            "resultTime": end,
            "result": result,
            **({} if flags is None else {"resultQuality": list(flags)}),
        }
        return self.finish(OBSERVATION, make_observation_id(datastream, time_us), properties, options)


def _copy_path(path: list[str], source: Mapping[str, Any], target: dict[str, Any]) -> None:
    """Copy a property, or a member of one, where it exists."""
    name, *rest = path
    if name not in source:
        return
    value = source[name]
    if not rest:
        target[name] = value
    elif isinstance(value, Mapping):
        inner = target.setdefault(name, {})
        if isinstance(inner, dict) and inner is not value:
            _copy_path(rest, value, inner)


def _point(row: Row) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}


def _area(row: Row) -> dict[str, Any]:
    """Return the area of a Datastream: the cell of its place, or a metre around an exact place."""
    longitude, latitude = row["longitude"], row["latitude"]
    # As the register's grid (`register_cell`) has it.
    height = (row["precision_m"] or 1) / _DEGREE_M / 2
    width = height / cos(radians(min(floor(abs(latitude)), 88) + 0.5))
    west, east = round(longitude - width, _DIGITS), round(longitude + width, _DIGITS)
    south, north = round(latitude - height, _DIGITS), round(latitude + height, _DIGITS)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


_DEGREE_M: Final = 111_320.0
_DIGITS: Final = 7
_PURPOSE: Final = {
    "purpose": "purpose",
    "legalBasis": "legal_basis",
    "legalReference": "legal_reference",
    "controller": "controller",
    "contact": "contact",
    "notice": "notice",
    "description": "description",
    "openData": "open_data",
}


def _purpose(row: Row) -> dict[str, Any]:
    shown = {name: row[column] for name, column in _PURPOSE.items() if row[column] is not None}
    known = {str(name): purpose.title for name, purpose in PURPOSES_BY_NAME.items()}
    shown["title"] = known.get(row["purpose"], row["purpose"])
    for name in ("starts_at", "ends_at"):
        if row[name] is not None:
            shown[name.replace("s_at", "sAt")] = format_us(from_datetime(row[name]))
    return shown
