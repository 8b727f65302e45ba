"""Limits what a third party with the key of a grant sees of sites and boxes.

Positions have the granted precision. What the organisation notes for itself, what boxes report of their
state, and when they send is left out, and lists cannot be filtered or sorted by it.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from app.platform.http.contract.fields import Point
from app.platform.http.contract.sorting import PageRequest
from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.grant_limits import GrantLimits
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_filters import BoxFilter
from app.registry.box_schemas import ACTIVITY_FIELDS, BoxOut
from app.registry.organisation_and_site_schemas import SiteOut

_SITE_HIDDEN: Final[Mapping[str, Any]] = {"address": None, "attributes": {}}
_BOX_HIDDEN: Final[Mapping[str, Any]] = {
    "tags": [],
    "attributes": {},
    **dict.fromkeys(("state", "state_at", "firmware", "battery", "rssi", "revoked_at")),
    **dict.fromkeys(ACTIVITY_FIELDS),
}
_BOX_FILTERS: Final = frozenset({"organisation", "site", "search", "id_prefix"})
_BOX_ORDERS: Final = frozenset({"id", "name", "created_at"})


def limit_site_fields(site: Mapping[str, Any], visible: TenantScope) -> Mapping[str, Any]:
    """Return the JSON of a site in a list as the caller may see it."""
    return site if visible.grant is None else {**site, **_SITE_HIDDEN, **_place(site, visible.grant)}


def limit_box_fields(box: Mapping[str, Any], visible: TenantScope) -> Mapping[str, Any]:
    """Return the JSON of a box in a list as the caller may see it."""
    return box if visible.grant is None else {**box, **_BOX_HIDDEN, **_place(box, visible.grant)}


def limit_site(site: SiteOut, visible: TenantScope) -> SiteOut:
    """Return a site as the caller may see it."""
    if visible.grant is None:
        return site
    location = _place_point(site.location, visible.grant)
    return site.model_copy(update={**_SITE_HIDDEN, "location": location})


def limit_box(box: BoxOut, visible: TenantScope) -> BoxOut:
    """Return a box as the caller may see it."""
    if visible.grant is None:
        return box
    location = None if box.location is None else _place_point(box.location, visible.grant)
    return box.model_copy(update={**_BOX_HIDDEN, "location": location})


def check_box_list(box_filter: BoxFilter, page_request: PageRequest, visible: TenantScope) -> None:
    """Refuse filters and orders by what the caller may not see (ForbiddenError `filter_not_granted`)."""
    if visible.grant is None:
        return
    used = {each.name for each in fields(box_filter) if getattr(box_filter, each.name) is not None}
    if used <= _BOX_FILTERS and page_request.sort.removeprefix("-") in _BOX_ORDERS:
        return
    raise ForbiddenError(
        "With the key of a grant, boxes can be filtered by `site`, `q` and `id_prefix`, and sorted by `id`, "
        "`name` and `created_at` alone.",
        code="filter_not_granted",
    )


def _place(shown: Mapping[str, Any], grant: GrantLimits) -> dict[str, Any]:
    location = shown["location"]
    if location is None:
        return {}
    return {"location": {**location, "coordinates": list(grant.place(*location["coordinates"]))}}


def _place_point(point: Point, grant: GrantLimits) -> Point:
    longitude, latitude = grant.place(point.longitude, point.latitude)
    return Point(type="Point", coordinates=[longitude, latitude])
