"""Serves the log of deliveries: the list with its filters, and one delivery with its attempts."""

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Response

from app.console.delivery import delivery_views
from app.console.delivery.delivery_router import DELIVERY_PATH
from app.console.framework import delivery_words
from app.console.framework.api_calls import build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import Visit
from app.console.framework.form_fields import read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.recipients import read_recipients
from app.console.incidents.incident_views import compute_period_start

router: Final = APIRouter(prefix=DELIVERY_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FILTERS: Final = ("endpoint", "state", "type", "reason", "period", "event", "replay")
_PAGE_ROWS: Final = 50


@router.get("/log")
async def list_deliveries(visit: Visit) -> Response:
    """List deliveries of all endpoints. The filters are in the address."""
    parameters = visit.query
    filters = {name: parameters[name] for name in _FILTERS if parameters.get(name)}
    query = {name: value for name, value in filters.items() if name != "period"}
    start = compute_period_start(filters.get("period", ""), datetime.now(UTC))
    cursor = parameters.get("cursor")
    page = await visit.api.get("/v1/deliveries", **{**query, "from": start}, cursor=cursor, limit=_PAGE_ROWS)
    following = page["next"]
    return render_console_page(
        visit,
        "delivery/deliveries.html",
        title=visit.t("Log of deliveries"),
        section="delivery",
        deliveries=page["data"],
        endpoints=await read_recipients(visit) or {},
        filters=filters,
        views=delivery_views,
        words=delivery_words,
        following=build_next_address(following, filters),
    )


@router.get("/deliveries/{delivery_id}")
async def show_delivery(visit: Visit, delivery_id: str) -> Response:
    """Show a delivery: each attempt with its request and its answer."""
    delivery = await visit.api.get(f"/v1/deliveries/{delivery_id}")
    noun = "webhook" if delivery["endpoint_kind"] == "webhook" else "channel"
    endpoint = await visit.api.get_unless_refused(f"/v1/{noun}s/{delivery['endpoint_id']}")
    known = delivery_words.EVENTS.get(delivery["type"])
    return render_console_page(
        visit,
        "delivery/delivery_detail.html",
        title=visit.t(known) if known else delivery["type"],
        section="delivery",
        delivery=delivery,
        endpoint=endpoint,
        overdue=delivery_views.is_overdue(delivery["due_at"], datetime.now(UTC)),
        body=delivery_views.format_body(delivery["body"]),
        views=delivery_views,
        words=delivery_words,
    )


@router.post("/deliveries/{delivery_id}/replay")
async def replay_delivery(visit: Visit, delivery_id: str) -> Response:
    """Send a delivery again."""
    fields = await read_console_form(visit)
    await visit.api.post(f"/v1/deliveries/{delivery_id}/replay")
    return redirect_to(visit.request, fields.page, done="delivery_replayed")
