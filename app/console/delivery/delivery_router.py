"""Serves the pages of endpoints: their list, one with its health, and tests, replays and secrets."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.delivery import delivery_views
from app.console.delivery.verification_snippets import load_snippets
from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import read_tagged
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.recipients import complete_recipients
from app.console.framework.shown_once import post_once
from app.platform.identity.session_cookie import CONSOLE_PATH

DELIVERY_PATH: Final = f"{CONSOLE_PATH}/delivery"
router: Final = APIRouter(prefix=DELIVERY_PATH, include_in_schema=False, route_class=ConsoleRoute)
_PAGE_ROWS: Final = 50
_NOT_FOUND: Final = 404
_REPLAY_HOURS: Final = {"hour": 1, "day": 24, "week": 168, "month": 720}


@router.get("")
async def list_endpoints(visit: Visit) -> Response:
    """List webhooks and channels with their health, failing ones first."""
    cursor = visit.query.get("cursor")
    page = await visit.api.get("/v1/endpoints", cursor=cursor, limit=_PAGE_ROWS)
    following = page["next"]
    return render_console_page(
        visit,
        "delivery/delivery.html",
        title=visit.t("Delivery"),
        section="delivery",
        endpoints=await complete_recipients(visit, page["data"]),
        views=delivery_views,
        words=delivery_words,
        following=build_next_address(following, {}),
    )


@dataclass(frozen=True, slots=True)
class FoundEndpoint:
    """A webhook or a channel.

    Attributes:
        data: Its JSON.
        path: Its path in the API.
        kind: `webhook`, or the kind of the channel.
        etag: Its ETag.
    """

    data: Mapping[str, Any]
    path: str
    kind: str
    etag: str


async def find_endpoint(visit: ConsoleVisit, endpoint_id: str) -> FoundEndpoint:
    """Find a webhook or a channel (ApiProblemError)."""
    path = f"/v1/webhooks/{endpoint_id}"
    try:
        webhook = await read_tagged(visit, path)
        return FoundEndpoint(webhook.data, path, "webhook", webhook.etag)
    except ApiProblemError as error:
        if error.status != _NOT_FOUND:
            raise
    path = f"/v1/channels/{endpoint_id}"
    channel = await read_tagged(visit, path)
    return FoundEndpoint(channel.data, path, channel.data["kind"], channel.etag)


@router.get("/{endpoint_id}")
async def show_endpoint(visit: Visit, endpoint_id: str) -> Response:
    """Show an endpoint: health, newest deliveries, replays, and the result of a test event."""
    return await show_endpoint_page(visit, endpoint_id)


async def show_endpoint_page(
    visit: ConsoleVisit,
    endpoint_id: str,
    *,
    secret: str = "",
    credentials: Mapping[str, str] | None = None,
    former_expire_at: str | None = None,
    portal_url: str = "",
    replay: FormState | None = None,
    link: FormState | None = None,
    status: int = 200,
) -> Response:
    """Render the page of an endpoint.

    Args:
        visit: The visit.
        endpoint_id: The endpoint.
        secret: A webhook's new secret, which is shown once.
        credentials: An MQTT channel's new credentials, which are shown once.
        former_expire_at: When the former secrets stop signing.
        portal_url: The address of a new portal link, which is shown once.
        replay: The form of a replay that was refused.
        link: The form of a portal link that was refused.
        status: The status of the response.
    """
    found = await find_endpoint(visit, endpoint_id)
    parameters = visit.query
    window = "P7D" if parameters.get("window") == "P7D" else "P1D"
    health = await visit.api.get(f"{found.path}/health", window=window)
    deliveries = await visit.api.get(f"{found.path}/deliveries", limit=_PAGE_ROWS)
    replays = await visit.api.get(f"{found.path}/replays", limit=5)
    links = await visit.api.get(f"{found.path}/portal-links", limit=50) if found.kind == "webhook" else None
    tested = parameters.get("test")
    tests = await visit.api.get(f"{found.path}/deliveries", event=tested) if tested else None
    return render_console_page(
        visit,
        "delivery/endpoint.html",
        title=delivery_words.name_recipient(found.data) or found.kind,
        section="delivery",
        status=status,
        endpoint=found.data,
        kind=found.kind,
        health=health,
        window=window,
        bars=delivery_views.chart_attempts(deliveries["data"]),
        deliveries=deliveries["data"][:10],
        replays=replays["data"],
        tested=tested,
        test=tests["data"][0] if tests and tests["data"] else None,
        views=delivery_views,
        words=delivery_words,
        snippets=load_snippets(),
        secret=secret,
        credentials=credentials,
        former_expire_at=former_expire_at,
        portal_url=portal_url,
        links=links["data"] if links else [],
        replay=replay or FormState(),
        link=link or FormState(),
    )


@router.post("/{endpoint_id}/test")
async def send_test(visit: Visit, endpoint_id: str) -> Response:
    """Send a test event. The page shows its result as soon as there is one."""
    await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    sent = await visit.api.post(f"{found.path}/test")
    return redirect_to(visit.request, f"{DELIVERY_PATH}/{endpoint_id}?test={sent['event_id']}")


@router.post("/{endpoint_id}/enabled")
async def switch_endpoint(visit: Visit, endpoint_id: str) -> Response:
    """Enable or disable an endpoint."""
    fields = await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    enabled = fields.one("enabled") == "true"
    await visit.api.patch(found.path, {"enabled": enabled})
    done = "endpoint_enabled" if enabled else "endpoint_disabled"
    return redirect_to(visit.request, f"{DELIVERY_PATH}/{endpoint_id}", done=done)


@router.post("/{endpoint_id}/delete")
async def delete_endpoint(visit: Visit, endpoint_id: str) -> Response:
    """Delete an endpoint with its deliveries."""
    await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    await visit.api.delete(found.path)
    return redirect_to(visit.request, DELIVERY_PATH, done="deleted")


@router.post("/{endpoint_id}/secret")
async def rotate_secret(visit: Visit, endpoint_id: str) -> Response:
    """Replace the secret or the password. The page that follows shows it once."""
    fields = await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    if found.kind != "webhook":
        made = await post_once(visit, f"{found.path}/rotate-password", None, fields)
        return await show_endpoint_page(visit, endpoint_id, credentials=made["credentials"])
    body = {"overlap": fields.one("overlap", "P1D")}
    made = await post_once(visit, f"{found.path}/rotate-secret", body, fields)
    return await show_endpoint_page(
        visit, endpoint_id, secret=made["secret"], former_expire_at=made["former_expire_at"]
    )


@router.post("/{endpoint_id}/replays")
async def replay_many(visit: Visit, endpoint_id: str) -> Response:
    """Send the deliveries of a period again."""
    fields = await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    hours = _REPLAY_HOURS.get(fields.one("period"), 24)
    since = datetime.now(UTC) - timedelta(hours=hours)
    try:
        await visit.api.post(
            f"{found.path}/replays", {"since": since.isoformat(), "states": fields.many("states")}
        )
    except ApiProblemError as error:
        form = FormState(fields, error)
        return await show_endpoint_page(visit, endpoint_id, replay=form, status=error.status)
    return redirect_to(visit.request, f"{DELIVERY_PATH}/{endpoint_id}#replays", done="replay_started")


@router.post("/{endpoint_id}/portal-links")
async def create_portal_link(visit: Visit, endpoint_id: str) -> Response:
    """Create a link for the developers of a webhook's receiver. The page that follows shows it once."""
    fields = await read_console_form(visit)
    body = {"name": fields.one("name"), "lifetime": fields.one("lifetime", "P30D")}
    try:
        made = await post_once(visit, f"/v1/webhooks/{endpoint_id}/portal-links", body, fields)
    except ApiProblemError as error:
        if error.status in {403, 404}:
            raise
        form = FormState(fields, error)
        return await show_endpoint_page(visit, endpoint_id, link=form, status=error.status)
    return await show_endpoint_page(visit, endpoint_id, portal_url=made["url"], status=201)


@router.post("/{endpoint_id}/portal-links/{link_id}/delete")
async def delete_portal_link(visit: Visit, endpoint_id: str, link_id: str) -> Response:
    """Delete a portal link."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/webhooks/{endpoint_id}/portal-links/{link_id}")
    return redirect_to(visit.request, f"{DELIVERY_PATH}/{endpoint_id}#portal", done="deleted")
