"""Serves the forms that create webhooks and channels, and the settings of one."""

from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.delivery import delivery_views, endpoint_forms
from app.console.delivery.delivery_router import DELIVERY_PATH, FoundEndpoint, find_endpoint
from app.console.delivery.verification_snippets import load_snippets
from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_sites
from app.platform.kernel.errors import NotFoundError

router: Final = APIRouter(prefix=DELIVERY_PATH, include_in_schema=False, route_class=ConsoleRoute)
_DEFAULT_EVENTS: Final = ("alert.firing", "alert.escalated", "alert.resolved", "incident.detected")


@router.get("/new")
async def choose_kind(visit: Visit) -> Response:
    """Show the kinds of endpoints."""
    return render_console_page(
        visit,
        "delivery/endpoint_kinds.html",
        title=visit.t("New recipient"),
        section="delivery",
        views=delivery_views,
        words=delivery_words,
    )


@router.get("/new/{kind}")
async def show_new_form(visit: Visit, kind: str) -> Response:
    """Show the form of a new endpoint of a kind."""
    return await _show_form(visit, kind, None, FormState())


async def _show_form(
    visit: ConsoleVisit, kind: str, found: FoundEndpoint | None, form: FormState, status: int = 200
) -> Response:
    endpoint = None if found is None else found.data
    if kind not in endpoint_forms.KIND_FIELDS:
        raise NotFoundError("kind of endpoint", kind)
    stored = endpoint or {}
    is_sent = bool(form.fields.values)
    events = form.fields.many("events") if is_sent else list(stored.get("events") or _DEFAULT_EVENTS)
    grouping = endpoint_forms.read_grouping(stored.get("grouping") if endpoint else _default_grouping(kind))
    return render_console_page(
        visit,
        "delivery/endpoint_form.html",
        title=visit.t("Settings") if endpoint else visit.t(delivery_words.KINDS[kind]),
        section="delivery",
        status=status,
        kind=kind,
        shown=endpoint_forms.KIND_FIELDS[kind],
        endpoint=endpoint,
        etag="" if found is None else found.etag,
        form=form,
        sites=await list_sites(visit),
        events=events,
        every_event=form.fields.has("all_events") if is_sent else endpoint_forms.ALL_EVENTS in events,
        grouping={**grouping, "by": form.fields.many("group_by")} if is_sent else grouping,
        views=delivery_views,
        words=delivery_words,
    )


def _default_grouping(kind: str) -> dict[str, Any] | None:
    """Return the grouping that the API gives a new channel."""
    if kind in {"webhook", "mqtt"}:
        return None
    return {"by": ["site", "rule"], "wait": "PT30S" if kind == "email" else "PT10S", "interval": "PT5M"}


@router.post("/new/{kind}")
async def create_endpoint(visit: Visit, kind: str) -> Response:
    """Create an endpoint. The page that follows shows its secret once, where it has one."""
    fields = await read_console_form(visit)
    if kind not in endpoint_forms.KIND_FIELDS:
        raise NotFoundError("kind of endpoint", kind)
    body = endpoint_forms.build_endpoint_body(kind, fields, creating=True)
    try:
        path = "/v1/webhooks" if kind == "webhook" else "/v1/channels"
        made = await post_once(visit, path, body, fields)
    except ApiProblemError as error:
        if error.status in {401, 403}:
            raise
        return await _show_form(visit, kind, None, FormState(fields, error), error.status)
    if "secret" not in made and "credentials" not in made:
        return redirect_to(visit.request, f"{DELIVERY_PATH}/{made['id']}", done="created")
    return render_console_page(
        visit,
        "delivery/endpoint_created.html",
        title=visit.t("Created"),
        section="delivery",
        status=201,
        endpoint=made,
        secret=made.get("secret", ""),
        credentials=made.get("credentials"),
        snippets=load_snippets(),
        views=delivery_views,
        words=delivery_words,
    )


@router.get("/{endpoint_id}/settings")
async def show_settings(visit: Visit, endpoint_id: str) -> Response:
    """Show the settings of an endpoint."""
    found = await find_endpoint(visit, endpoint_id)
    return await _show_form(visit, found.kind, found, FormState())


@router.post("/{endpoint_id}/settings")
async def change_settings(visit: Visit, endpoint_id: str) -> Response:
    """Change the settings of an endpoint."""
    fields = await read_console_form(visit)
    found = await find_endpoint(visit, endpoint_id)
    body = endpoint_forms.build_endpoint_body(found.kind, fields, creating=False)
    try:
        await change_guarded(visit, "PATCH", found.path, body, fields)
    except ApiProblemError as error:
        if error.status in {401, 403}:
            raise
        found = await find_endpoint(visit, endpoint_id)
        return await _show_form(visit, found.kind, found, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{DELIVERY_PATH}/{endpoint_id}", done="saved")
