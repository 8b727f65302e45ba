"""Builds entities of boxes, normalised or as keys and values. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.catalogue.smart_data_models import CONTROLLED_PROPERTIES, DEVICE
from app.measurement_stream.formats.ngsi_ld import (
    build_observation,
    make_entity_id,
    make_property,
    make_time_property,
    scale_value,
)
from app.platform.kernel.instants import format_us

_ALWAYS: Final = frozenset({"id", "type"})
_OF_PERCENT: Final = 0.01


def name_box(row: Mapping[str, Any]) -> str:
    """Return what a box is called in ids: its public id, or its number where that is not shown."""
    return str(row["box"] or row["number"])


def build_entity(
    model: str, row: Mapping[str, Any], latest: Mapping[str, tuple[int, float]]
) -> dict[str, Any] | None:
    """Build an entity of a box; None: the box has no values of the model.

    Args:
        model: the type.
        row: the box.
        latest: metric → time (µs since the epoch) and value.
    """
    entity = (
        _build_device(row, latest) if model == DEVICE else build_observation(model, name_box(row), latest)
    )
    if entity is None:
        return None
    place = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
    entity["location"] = {"type": "GeoProperty", "value": place}
    for name, column in (("name", "name"), ("dataProvider", "operator")):
        if row[column] is not None:
            entity[name] = make_property(row[column])
    return entity


def _build_device(row: Mapping[str, Any], latest: Mapping[str, tuple[int, float]]) -> dict[str, Any]:
    name = name_box(row)
    controlled = (CONTROLLED_PROPERTIES[metric] for metric in latest if metric in CONTROLLED_PROPERTIES)
    device: dict[str, Any] = {
        "id": make_entity_id(DEVICE, name),
        "type": DEVICE,
        "category": make_property(["sensor"]),
        "controlledProperty": make_property(list(dict.fromkeys(controlled))),
    }
    if latest:
        device["dateLastValueReported"] = make_time_property(max(time for time, _ in latest.values()))
    if "battery" in latest:
        time_us, percent = latest["battery"]
        device["batteryLevel"] = make_property(
            scale_value(percent, _OF_PERCENT), observedAt=format_us(time_us)
        )
    if row["firmware"] is not None:
        device["firmwareVersion"] = make_property(row["firmware"])
    return device


def select_attributes(entity: dict[str, Any], attributes: frozenset[str] | None) -> dict[str, Any] | None:
    """Leave the wanted attributes in an entity; None: it has none of them."""
    if attributes is None:
        return entity
    chosen = {name: value for name, value in entity.items() if name in attributes and name not in _ALWAYS}
    return {"id": entity["id"], "type": entity["type"], **chosen} if chosen else None


def simplify_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each attribute by its value (`options=keyValues`)."""
    return {name: _simplify(value) for name, value in entity.items()}


def _simplify(attribute: Any) -> Any:  # noqa: ANN401 (JSON)
    if not isinstance(attribute, dict):
        return attribute
    value = attribute.get("object", attribute.get("value"))
    return value["@value"] if isinstance(value, dict) and "@value" in value else value
