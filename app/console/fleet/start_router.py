"""Serves the first run: a site, a box, and the line that sends its first sample."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

from fastapi import APIRouter, Response

from app.console.fleet.fleet_router import read_location, read_new_box
from app.console.fleet.rejection_texts import get_rejection_text
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.page_translation import mark_text
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites
from app.console.sites.box_instructions import write_http_line, write_mqtt_line
from app.console.sites.box_page import build_box_path
from app.platform.identity.session_cookie import CONSOLE_PATH

START_PATH: Final = f"{CONSOLE_PATH}/start"
router: Final = APIRouter(prefix=START_PATH, include_in_schema=False, route_class=ConsoleRoute)
_AREAS: Final = (
    *("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/"),
    "Pacific/",
)
SITE_KINDS: Final = (
    ("street", mark_text("Street")),
    ("square", mark_text("Square")),
    ("park", mark_text("Park")),
    ("home", mark_text("Homes")),
    ("office", mark_text("Offices")),
    ("school", mark_text("School")),
    ("hospital", mark_text("Hospital")),
    ("museum", mark_text("Museum")),
    ("industry", mark_text("Industrial site")),
    ("airport", mark_text("Airport")),
    ("port", mark_text("Port")),
)
"""Kinds of site that the form suggests."""


@cache
def list_time_zones() -> list[str]:
    """List the names of time zones of places, for suggestions."""
    return ["UTC", *sorted(name for name in available_timezones() if name.startswith(_AREAS))]


@router.get("")
async def show_start(visit: Visit) -> Response:
    """Show the step that comes next."""
    return await _show(visit)


async def _show(
    visit: ConsoleVisit,
    *,
    form: FormState | None = None,
    status: int = 200,
    created: Mapping[str, Any] | None = None,
    password: str = "",
    key: str | None = None,
) -> Response:
    form = form or FormState()
    sites = await list_sites(visit)
    box = created or await _find_box(visit)
    site = next((each for each in sites if box and each["id"] == box["site_id"]), sites[0] if sites else None)
    return render_console_page(
        visit,
        "fleet/start.html",
        title=visit.t("Your first box"),
        status=status,
        zone=site["timezone"] if site else "UTC",
        site=site,
        sites=sites,
        site_options=list_site_options(sites),
        write_mqtt_line=write_mqtt_line,
        write_http_line=write_http_line,
        box=box,
        password=password or (created["credentials"]["password"] if created else None),
        key=key,
        connection=await visit.api.get("/v1/connection") if box else None,
        arrival=await _read_arrival(visit, box["id"]) if box else None,
        text_of=get_rejection_text,
        suggested=_suggest_id(form.fields),
        kinds=SITE_KINDS,
        time_zones=list_time_zones(),
        form=form,
    )


async def _find_box(visit: ConsoleVisit) -> Mapping[str, Any] | None:
    """Find the box of the address; else the newest one; None if there is none."""
    named = visit.query.get("box")
    if named:
        found: Mapping[str, Any] = await visit.api.get(build_box_path(named))
        return found
    newest = (await visit.api.get("/v1/boxes", sort="-created_at", limit=1))["data"]
    return newest[0] if newest else None


def _suggest_id(fields: FormFields) -> str:
    """Suggest an id. After one that is taken, suggest one that is unlikely to be taken."""
    return f"box-{datetime.now(UTC):%y%m%d%H%M}" if fields.has("id") else "box-0001"


async def _read_arrival(visit: ConsoleVisit, box: str) -> dict[str, Any]:
    """Read what has arrived from a box: values, or the last refusal."""
    latest = await visit.api.get(f"{build_box_path(box)}/latest")
    if latest["time"] is not None:
        metrics = {each["name"]: each for each in (await visit.api.get("/v1/metrics"))["data"]}
        values = [(metrics[name], value) for name, value in latest["values"].items() if name in metrics]
        return {"time": latest["time"], "values": values, "refused": None}
    refused = (await visit.api.get("/v1/quarantine", box=box, limit=1))["data"]
    return {"time": None, "values": [], "refused": refused[0] if refused else None}


@router.get("/arrival")
async def show_arrival(visit: Visit) -> Response:
    """Show whether the first sample of a box arrived. The page reads this part each second."""
    box = await visit.api.get(build_box_path(visit.query.get("box", "")))
    site = await visit.api.get(f"/v1/sites/{box['site_id']}")
    return render_console_page(
        visit,
        "fleet/start_arrival.html",
        title=visit.t("Your first box"),
        zone=site["timezone"],
        box=box,
        arrival=await _read_arrival(visit, box["id"]),
        text_of=get_rejection_text,
    )


@router.post("/site")
async def create_site(visit: Visit) -> Response:
    """Create the first site."""
    fields = await read_console_form(visit)
    body = {
        "name": fields.one("name"),
        "kind": fields.one("kind"),
        "timezone": fields.one("timezone"),
        "address": fields.optional("address"),
        "location": read_location(fields),
    }
    if body["location"] is None:
        body["location"] = {"type": "Point", "coordinates": []}
    try:
        await post_once(visit, "/v1/sites", body, fields)
    except ApiProblemError as error:
        return await _show(visit, form=FormState(fields, error), status=error.status)
    return redirect_to(visit.request, START_PATH, done="created")


@router.post("/box")
async def create_first_box(visit: Visit) -> Response:
    """Create the first box, and show the lines that send its first sample."""
    fields = await read_console_form(visit)
    try:
        box = await post_once(visit, "/v1/boxes", read_new_box(fields), fields)
    except ApiProblemError as error:
        return await _show(visit, form=FormState(fields, error), status=error.status)
    return await _show(visit, created=box, status=201)


@router.post("/credentials")
async def rotate_credentials(visit: Visit) -> Response:
    """Give the box a new password, to show it once more."""
    fields = await read_console_form(visit)
    box = await visit.api.get(build_box_path(fields.one("box")))
    made = await post_once(visit, f"{build_box_path(box['id'])}/credentials", None, fields)
    return await _show(visit, created={**box, **made})


@router.post("/key")
async def create_http_key(visit: Visit) -> Response:
    """Create an API key that may only send samples, for the line with curl."""
    fields = await read_console_form(visit)
    body = {"name": fields.one("box"), "scopes": ["telemetry:write"]}
    made = await post_once(visit, "/v1/api-keys", body, fields)
    return await _show(visit, password=fields.verbatim("password"), key=made["key"])
