"""Serves the list of boxes with its filters, and the form of a new box."""

from typing import Any, Final

from fastapi import APIRouter, Response

from app.catalogue.metrics import CATALOGUE
from app.console.fleet.fleet_filters import read_box_filters
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import render_console_page
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites
from app.console.sites.box_instructions import write_http_line, write_mqtt_line
from app.console.sites.box_setup import suggest_kinds
from app.console.sites.explorer_view import list_metrics
from app.platform.identity.session_cookie import CONSOLE_PATH

FLEET_PATH: Final = f"{CONSOLE_PATH}/fleet"
SECTION: Final = "fleet"
router: Final = APIRouter(prefix=FLEET_PATH, include_in_schema=False, route_class=ConsoleRoute)
_PAGE_ROWS: Final = 100
_FIRST_FILTERS: Final = frozenset({"q", "site", "activity", "state"})


@router.get("")
async def list_boxes(visit: Visit) -> Response:
    """List boxes. The filters are in the address, which can be shared."""
    return await show_boxes(visit, FormState())


async def show_boxes(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    """Show the list of boxes, with the fault of an operation on them if there is one."""
    parameters = visit.query
    filters = read_box_filters(parameters)
    sort = parameters.get("sort", "id")
    try:
        page = await visit.api.get(
            "/v1/boxes", **filters, sort=sort, cursor=parameters.get("cursor"), limit=_PAGE_ROWS
        )
    except ApiProblemError as error:
        if status != 200 or not parameters:  # noqa: PLR2004
            raise
        # A filter of the address that the API refuses: the list says so, and stays empty.
        page, form, status = {"data": [], "next": None}, FormState(problem=error), error.status
    sites = await list_sites(visit)
    following = page["next"]
    address = {**filters, "sort": "" if sort == "id" else sort}
    return render_console_page(
        visit,
        "fleet/fleet.html",
        title=visit.t("Fleet"),
        section=SECTION,
        status=status,
        boxes=page["data"],
        filters=filters,
        sort=sort,
        has_more=sort != "id" or not filters.keys() <= _FIRST_FILTERS,
        sites=sites,
        site_names={site["id"]: site["name"] for site in sites},
        zones={site["id"]: site["timezone"] for site in sites},
        following=build_next_address(following, address),
        form=form,
    )


@router.get("/new")
async def show_new_box(visit: Visit) -> Response:
    """Show the form of a new box."""
    visit.require("boxes:write")
    return await _show_form(visit, FormState())


async def _show_form(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    sites = await list_sites(visit)
    return render_console_page(
        visit,
        "sites/box_new.html",
        title=visit.t("Add a box"),
        section=SECTION,
        status=status,
        sites=sites,
        site_options=list_site_options(sites),
        chosen=visit.query.get("site", ""),
        kinds=await suggest_kinds(visit),
        metrics=list_metrics({each.name for each in CATALOGUE}, visit.language),
        measured=form.fields.many("measured"),
        form=form,
    )


@router.post("/new")
async def create_box(visit: Visit) -> Response:
    """Create a box, and show its credentials with the lines that send its first sample."""
    fields = await read_console_form(visit)
    try:
        box = await post_once(visit, "/v1/boxes", read_new_box(fields), fields)
    except ApiProblemError as error:
        return await _show_form(visit, FormState(fields, error), error.status)
    return render_console_page(
        visit,
        "fleet/box_created.html",
        title=visit.t("The box was created"),
        section=SECTION,
        status=201,
        box=box,
        password=box["credentials"]["password"],
        connection=await visit.api.get("/v1/connection"),
        write_mqtt_line=write_mqtt_line,
        write_http_line=write_http_line,
        measured=fields.many("measured"),
    )


def read_new_box(fields: FormFields) -> dict[str, Any]:
    """Read the body of `POST /v1/boxes` from its form. Empty fields have the defaults of the API."""
    body: dict[str, Any] = {
        "id": fields.one("id"),
        "site_id": fields.one("site_id"),
        "name": fields.optional("name"),
        "kind": fields.optional("kind"),
        "interval_s": fields.number("interval_s"),
        "ack": fields.has("ack"),
        "tags": fields.one("tags").replace(",", " ").split(),
        "location": read_location(fields),
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def read_location(fields: FormFields) -> dict[str, Any] | None:
    """Read a position from the fields `latitude` and `longitude`; None if both are empty.

    One that is missing is left to the API, which names the fault.
    """
    longitude, latitude = fields.number("longitude"), fields.number("latitude")
    if longitude is None and latitude is None:
        return None
    return {"type": "Point", "coordinates": [longitude, latitude]}
