"""Serves the first page of the administration: what needs a decision, and the ways to its parts."""

from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    list_parts,
    render_administration,
)
from app.console.administration.administration_words import NEARLY_FULL, list_quota_uses
from app.console.administration.purposes_router import count_waiting_purposes
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit

router: Final = APIRouter(prefix=ADMINISTRATION_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def show_administration(visit: Visit) -> Response:
    """Show what needs a decision, and a card for each part."""
    usage = await visit.api.get_unless_refused(f"/v1/organisations/{visit.me['organisation']['id']}/usage")
    uses = list_quota_uses(usage, with_clients=False) if usage else []
    return render_administration(
        visit,
        "administration/administration.html",
        title=visit.t("Administration"),
        part="",
        counts=await _count_open_work(visit),
        full=[use for use in uses if use.percent is not None and use.percent >= NEARLY_FULL],
        shown=list_parts(visit),
    )


async def _count_open_work(visit: ConsoleVisit) -> dict[str, Any]:
    counts: dict[str, Any] = {"approvals": 0, "requests": 0, "overdue": 0, "invitations": 0}
    if visit.can("sites:read"):
        counts["approvals"] = await count_waiting_purposes(visit)
    if visit.can("rights:read"):
        states = ("received", "in_progress")
        pages = await visit.api.get_all(*(f"/v1/rights-requests?state={each}&limit=1000" for each in states))
        requests = [each for page in pages for each in page["data"]]
        counts["requests"] = len(requests)
        counts["overdue"] = sum(each["overdue"] for each in requests)
    if visit.can("members:read"):
        page = await visit.api.get("/v1/invitations", state="open", limit=1000)
        counts["invitations"] = len(page["data"])
    return counts
