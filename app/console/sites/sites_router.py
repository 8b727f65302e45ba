"""Serves the list of sites, and the forms that create and change a site."""

from typing import Final
from urllib.parse import quote
from zoneinfo import available_timezones

from fastapi import APIRouter, Response

from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import TaggedResource, change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.sites.place_forms import SITE_PATHS, make_site_body, read_site_fields
from app.console.sites.site_view import SITE_KINDS, count_boxes_by_site, find_firing_by_site
from app.platform.identity.session_cookie import CONSOLE_PATH

SITES_PATH: Final = f"{CONSOLE_PATH}/sites"
router: Final = APIRouter(prefix=SITES_PATH, include_in_schema=False, route_class=ConsoleRoute)
_PAGE_ROWS: Final = 50
_ZONES: Final = tuple(sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC"))


def build_site_path(site_id: str) -> str:
    """Return the path of a site in the API."""
    return f"/v1/sites/{quote(site_id, safe='')}"


@router.get("")
async def list_sites(visit: Visit) -> Response:
    """List sites with their alerts and boxes. The search is in the address."""
    parameters = visit.query
    filters = {name: parameters[name] for name in ("q", "kind") if parameters.get(name)}
    page = await visit.api.get(
        "/v1/sites", **filters, sort="name", cursor=parameters.get("cursor"), limit=_PAGE_ROWS
    )
    overview = await visit.api.get_unless_refused("/v1/overview")
    box_map = await visit.api.get_unless_refused("/v1/overview/boxes")
    following = page["next"]
    return render_console_page(
        visit,
        "sites/sites.html",
        title=visit.t("Sites"),
        section="sites",
        sites=page["data"],
        filters=filters,
        firing=find_firing_by_site(overview),
        counts=count_boxes_by_site(box_map),
        kind_names={name: visit.t(text) for name, text in SITE_KINDS.items()},
        following=build_next_address(following, filters),
    )


def _show_form(
    visit: ConsoleVisit, tagged: TaggedResource | None, form: FormState, status: int = 200
) -> Response:
    site = None if tagged is None else tagged.data
    return render_console_page(
        visit,
        "sites/site_form.html",
        title=visit.t("New site") if site is None else site["name"],
        section="sites",
        status=status,
        site=site,
        etag="" if tagged is None else tagged.etag,
        stored=read_site_fields(site),
        shown=SITE_PATHS,
        kinds=SITE_KINDS,
        zones=_ZONES,
        form=form,
    )


@router.get("/new")
async def show_new_site(visit: Visit) -> Response:
    """Show the form of a new site."""
    return _show_form(visit, None, FormState())


@router.post("/new")
async def create_site(visit: Visit) -> Response:
    """Create a site."""
    fields = await read_console_form(visit)
    try:
        site = await visit.api.post("/v1/sites", make_site_body(fields))
    except ApiProblemError as error:
        return _show_form(visit, None, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{SITES_PATH}/{site['id']}", done="created")


@router.get("/{site_id}/edit")
async def show_site_form(visit: Visit, site_id: str) -> Response:
    """Show the form of a site."""
    return _show_form(visit, await read_tagged(visit, build_site_path(site_id)), FormState())


@router.post("/{site_id}/edit")
async def change_site(visit: Visit, site_id: str) -> Response:
    """Change a site."""
    fields = await read_console_form(visit)
    path = build_site_path(site_id)
    try:
        await change_guarded(visit, "PATCH", path, make_site_body(fields), fields)
    except ApiProblemError as error:
        return _show_form(visit, await read_tagged(visit, path), FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{SITES_PATH}/{site_id}", done="saved")


@router.post("/{site_id}/delete")
async def delete_site(visit: Visit, site_id: str) -> Response:
    """Delete a site. One that has boxes is refused by the API."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(build_site_path(site_id))
    except ApiProblemError as error:
        site = await read_tagged(visit, build_site_path(site_id))
        return _show_form(visit, site, FormState(fields, error), error.status)
    return redirect_to(visit.request, SITES_PATH, done="deleted")
