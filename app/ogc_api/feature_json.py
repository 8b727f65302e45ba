"""Formats places, boxes and EDR locations as GeoJSON. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.platform.kernel.instants import format_us, from_datetime

type Row = Mapping[str, Any]
"""The row of a site or a box, by the names of the columns of its view."""

MEDIA_TYPE: Final = "application/geo+json"
_SHARED: Final = {
    "name": "site",
    "kind": "site_kind",
    "timezone": "timezone",
    "address": "address",
    "operator": "operator",
    "licence": "licence",
    "precision_m": "precision_m",
}
_OF_BOX: Final = {
    "name": "name",
    "box": "box",
    "kind": "kind",
    "firmware": "firmware",
    "interval_s": "interval_s",
    "site": "site",
    "site_kind": "site_kind",
    "timezone": "timezone",
    "address": "address",
    "operator": "operator",
    "licence": "licence",
    "precision_m": "precision_m",
}
type Latest = Mapping[str, tuple[int, float]]
"""Metric → time (µs since the epoch) and value."""


def _select_properties(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    shown = {name: row[column] for name, column in names.items() if row[column] is not None}
    return shown | {"since": format_us(from_datetime(row["located_at"]))}


def _build_feature(identifier: str, row: Row, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": identifier,
        "geometry": {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]},
        "properties": properties,
    }


def build_place(row: Row) -> dict[str, Any]:
    """Build the feature of a site."""
    return _build_feature(str(row["site_id"]), row, _select_properties(row, _SHARED))


def build_box(row: Row, latest: Latest) -> dict[str, Any]:
    """Build the feature of a box, with its latest values as properties of their own, which maps can draw."""
    properties = {**_select_properties(row, _OF_BOX), "site_id": str(row["site_id"])}
    if latest:
        properties["time"] = format_us(max(time for time, _ in latest.values()))
        properties |= {metric: value for metric, (_, value) in latest.items()}
    return _build_feature(row["number"], row, properties)


def build_location(row: Row, latest: Latest, address: Callable[[str], str]) -> dict[str, Any]:
    """Build the location of a box for EDR, with the address of its values."""
    newest = max((time for time, _ in latest.values()), default=None)
    # Of a box without values: since it is there. Intervals with two open ends are not valid.
    since = f"{format_us(from_datetime(row['located_at']))}/.."
    properties = {
        "label": row["name"] or row["box"] or f"Box {row['number']}",
        "datetime": since if newest is None else f"../{format_us(newest)}",
        "parameter-name": list(latest),
        "edrqueryendpoint": address(row["number"]),
        "site": row["site"],
    }
    return _build_feature(row["number"], row, properties)


def build_feature_collection(
    features: Sequence[dict[str, Any]], *, matched: int, links: Sequence[Mapping[str, str]], now_us: int
) -> dict[str, Any]:
    """Build a page of features."""
    return {
        "type": "FeatureCollection",
        "features": features,
        "links": links,
        "timeStamp": format_us(now_us),
        "numberMatched": matched,
        "numberReturned": len(features),
    }
