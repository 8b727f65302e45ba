"""Incidents as GeoJSON (RFC 7946). Pure."""

from collections.abc import Sequence
from typing import Any, Final

from app.incidents.schemas import IncidentOut

MEDIA_TYPE: Final = "application/geo+json"


def build_feature_collection(incidents: Sequence[IncidentOut], following: str | None) -> dict[str, Any]:
    """A FeatureCollection: of each incident its place, or null, and all else as properties.

    Args:
        incidents: in their order.
        following: the next page's cursor: a foreign member (RFC 7946, 6.1).
    """
    features = []
    for each in incidents:
        shown = each.model_dump(mode="json", by_alias=True)
        geometry = shown.pop("geometry")
        features.append({"type": "Feature", "id": shown["id"], "geometry": geometry, "properties": shown})
    return {"type": "FeatureCollection", "features": features, "next": following}
