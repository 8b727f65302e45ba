"""Turns the forms of sites and boxes into bodies of the API. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from app.console.framework.form_fields import FormFields

SITE_PATHS: Final = (
    *("name", "kind", "timezone", "address", "register_precision_m", "retention_days", "open_data_licence"),
    *("location", "location.coordinates", "location.coordinates.0", "location.coordinates.1"),
)
"""The fields of a site that its form shows, as faults of the API name them."""
BOX_PATHS: Final = (
    *("name", "site_id", "kind", "tags", "interval_s", "attributes", "location"),
    *("location.coordinates", "location.coordinates.0", "location.coordinates.1"),
)
"""The fields of a box that its form shows."""


def _location(fields: FormFields) -> dict[str, Any] | None:
    longitude, latitude = fields.number("longitude"), fields.number("latitude")
    if longitude is None and latitude is None:
        return None
    # A single number is sent too: the API says what is missing.
    return {"type": "Point", "coordinates": [each for each in (longitude, latitude) if each is not None]}


def make_site_body(fields: FormFields) -> dict[str, Any]:
    """Make the body of a site from its form."""
    return {
        "name": fields.one("name"),
        "kind": fields.one("kind").lower(),
        "timezone": fields.one("timezone"),
        "location": _location(fields) or {"type": "Point", "coordinates": []},
        "address": fields.optional("address"),
        "register_precision_m": fields.number("register_precision_m") or 100,
        "retention_days": fields.number("retention_days"),
        "open_data_licence": fields.optional("open_data_licence"),
    }


def read_site_fields(site: Mapping[str, Any] | None) -> dict[str, object]:
    """Return what the form of a site contains."""
    if site is None:
        return {"timezone": "Europe/Paris", "register_precision_m": 100}
    longitude, latitude = site["location"]["coordinates"][:2]
    return {**site, "longitude": longitude, "latitude": latitude}


def make_box_body(fields: FormFields) -> dict[str, Any]:
    """Make the body of a box from its form."""
    return {
        "name": fields.optional("name"),
        "site_id": fields.one("site_id"),
        "kind": fields.optional("kind"),
        "tags": [each.strip() for each in fields.one("tags").split(",") if each.strip()],
        "interval_s": fields.number("interval_s"),
        "ack": fields.has("ack"),
        "location": _location(fields),
    }


def read_box_fields(box: Mapping[str, Any]) -> dict[str, object]:
    """Return what the form of a box contains."""
    coordinates = (box["location"] or {}).get("coordinates", ["", ""])
    return {
        **box,
        "tags": ", ".join(box["tags"]),
        "longitude": coordinates[0],
        "latitude": coordinates[1],
    }


def parse_json_object(text: str) -> dict[str, Any] | str:
    """Parse a JSON object that a person typed; a text says what is wrong with it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return str(error)
    return value if isinstance(value, dict) else "not an object"
