"""Prepares what helps to connect a box: suggestions for its form, and how it sends its first sample."""

from collections.abc import Mapping
from typing import Any, Final

from app.catalogue.metrics import CATALOGUE
from app.console.framework.console_visit import ConsoleVisit
from app.console.sites.box_instructions import choose_measured, write_http_line, write_mqtt_line
from app.console.sites.explorer_view import list_metrics

_BOXES_WITH_KINDS: Final = 500
_COMMON_KINDS: Final = ("air", "indoor", "noise", "odour", "weather")


async def suggest_kinds(visit: ConsoleVisit) -> list[str]:
    """List kinds of boxes for a form: those in use, and common ones."""
    page = await visit.api.get_unless_refused("/v1/boxes", sort="-created_at", limit=_BOXES_WITH_KINDS)
    used = {each["kind"] for each in page["data"] if each["kind"]} if page else set()
    return sorted(used.union(_COMMON_KINDS))


async def prepare_instructions(visit: ConsoleVisit, box: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare how a box sends its first sample; nothing for one that has sent, or that is refused."""
    if box["last_sample_at"] or box["last_heard_at"] or box["activity"] == "refused":
        return {"connection": None}
    return {
        "connection": await visit.api.get("/v1/connection"),
        "write_mqtt_line": write_mqtt_line,
        "write_http_line": write_http_line,
        "measured": choose_measured(visit.query.getlist("measured")),
        "metrics": list_metrics({each.name for each in CATALOGUE}, visit.language),
    }
