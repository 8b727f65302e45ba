"""Reads what the page of a box shows, by calls of the public API."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from app.console.framework.console_visit import ConsoleVisit
from app.console.sites.config_diff import compare_configurations
from app.console.sites.site_view import list_latest_values
from app.platform.identity.session_cookie import CONSOLE_PATH

BOXES_PATH: Final = f"{CONSOLE_PATH}/boxes"
_LISTED: Final = 10
_COMPARED_BOXES: Final = 100


def build_box_path(box: str) -> str:
    """Return the path of a box in the API."""
    return f"/v1/boxes/{quote(box, safe='')}"


def build_box_page(box: str) -> str:
    """Return the path of a box in the console."""
    return f"{BOXES_PATH}/{quote(box, safe='')}"


def may_change_boxes(visit: ConsoleVisit) -> bool:
    """Return whether the person may change boxes: installers may, without the right to change sites."""
    return visit.can("boxes:write") or visit.can("sites:write")


async def read_box_with_site(visit: ConsoleVisit, box: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a box and its site."""
    found = await visit.api.get(build_box_path(box))
    return found, await visit.api.get(f"/v1/sites/{found['site_id']}")


async def read_box_parts(visit: ConsoleVisit, box: Mapping[str, Any]) -> dict[str, Any]:
    """Read the values, alerts, events, configuration and corrections of a box."""
    api, path = visit.api, build_box_path(box["id"])
    latest, alerts, events, configuration = await asyncio.gather(
        api.get_unless_refused(f"{path}/latest"),
        api.get_unless_refused("/v1/alerts", box=box["id"], sort="-started_at", limit=_LISTED),
        api.get_unless_refused(f"{path}/events", sort="-id", limit=_LISTED),
        api.get_unless_refused(f"{path}/config"),
    )
    corrections, neighbours, catalogue = await asyncio.gather(
        api.get_unless_refused(f"{path}/corrections", sort="-valid_from", limit=_LISTED),
        api.get_unless_refused("/v1/boxes", site=box["site_id"], limit=_COMPARED_BOXES),
        api.get_unless_refused("/v1/event-catalogue"),
    )
    title = "title_fr" if visit.language == "fr" else "title"
    return {
        "latest": latest,
        "values": list_latest_values(latest, visit.language),
        "alerts": alerts["data"] if alerts else None,
        "events": sorted(events["data"], key=lambda each: str(each["time"]), reverse=True) if events else [],
        "event_titles": {each["name"]: each[title] for each in catalogue["data"]} if catalogue else {},
        "configuration": configuration,
        "differences": compare_configurations(configuration["desired"], configuration["reported"])
        if configuration
        else [],
        "corrections": corrections["data"] if corrections else [],
        "neighbours": [each for each in neighbours["data"] if each["id"] != box["id"]] if neighbours else [],
    }
