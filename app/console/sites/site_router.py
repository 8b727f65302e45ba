"""Serves the page of a site: its alerts, indices, values and boxes, and its reports."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.framework.api_streams import stream_file
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.page_rendering import render_console_page
from app.console.sites.explorer_view import prepare_explorer
from app.console.sites.site_view import SITE_KINDS, list_index_badges, list_latest_values, sort_purposes
from app.console.sites.sites_router import SITES_PATH, build_site_path

router: Final = APIRouter(prefix=SITES_PATH, include_in_schema=False, route_class=ConsoleRoute)
_LISTED_BOXES: Final = 100
_LISTED_ALERTS: Final = 10
# Indices and purposes change by the hour; a page of a large site would wait for them at each refresh.
_INDEXED_BOXES: Final = 60


async def _read_parts(visit: ConsoleVisit, site_id: str) -> dict[str, Any]:
    api, path = visit.api, build_site_path(site_id)
    site = await api.get(path)
    boxes = await api.get_unless_refused("/v1/boxes", site=site_id, limit=_LISTED_BOXES)
    found = boxes["data"] if boxes else []
    latest = await api.get_unless_refused(f"{path}/latest", limit=_LISTED_BOXES)
    alerts = await api.get_unless_refused(
        "/v1/alerts", site=site_id, state="firing", sort="-severity", limit=_LISTED_ALERTS + 1
    )
    indices = None
    if 0 < len(found) <= _INDEXED_BOXES:
        indices = await api.get_unless_refused(f"{path}/indices")
    purposes = await api.get_unless_refused(f"{path}/purposes")
    return {
        "site": site,
        "boxes": found,
        "more_boxes": bool(boxes and boxes["next"]),
        "latest": {each["box"]: each for each in latest["data"]} if latest else {},
        "alerts": alerts["data"] if alerts else [],
        "indices": list_index_badges(indices, visit.language),
        "purposes": sort_purposes(purposes["data"]) if purposes else [],
    }


def _sort_for_chart(boxes: list[dict[str, Any]], firing: Sequence[str | None]) -> list[dict[str, Any]]:
    """Sort boxes for the chart, which shows the first one: that of the worst alert, else one that sends."""
    places = {box: place for place, box in reversed(list(enumerate(firing)))}
    return sorted(boxes, key=lambda each: (places.get(each["id"], len(firing)), each["activity"] != "active"))


@router.get("/{site_id}")
async def show_site(visit: Visit, site_id: str) -> Response:
    """Show a site."""
    parts = await _read_parts(visit, site_id)
    site = parts["site"]
    zone = site["timezone"]
    explorer = await prepare_explorer(
        visit,
        path=f"{SITES_PATH}/{site_id}",
        zone=zone,
        boxes=_sort_for_chart(parts["boxes"], [each["box"] for each in parts["alerts"]]),
        latest=list(parts["latest"].values()),
        site=site_id,
        preferred=[each["metric"] for each in parts["alerts"]],
    )
    return render_console_page(
        visit,
        "sites/site.html",
        title=site["name"],
        section="sites",
        zone=zone,
        explorer=explorer,
        listed_alerts=_LISTED_ALERTS,
        values={box: list_latest_values(each, visit.language) for box, each in parts["latest"].items()},
        sampled={box: each["values"] for box, each in parts["latest"].items()},
        kind_names={name: visit.t(text) for name, text in SITE_KINDS.items()},
        register=f"/public/sites/{site_id}?lang={visit.language}",
        **parts,
    )


@router.get("/{site_id}/reports/{period}")
async def show_report(visit: Visit, site_id: str, period: str) -> Response:
    """Pass the report of a day or month through, as a page or PDF."""
    parameters = visit.query
    query = {
        "format": "pdf" if parameters.get("format") == "pdf" else "html",
        "language": visit.language,
        "date": parameters.get("date"),
        "month": parameters.get("month"),
    }
    length = "month" if period == "month" else "day"
    return await stream_file(visit.api, f"{build_site_path(site_id)}/reports/{length}", query)
