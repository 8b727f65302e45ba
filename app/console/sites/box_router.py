"""Serves the page of a box, its form, and the page of its credentials."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Response

from app.catalogue.metrics import CATALOGUE
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import TaggedResource, change_guarded, read_tagged
from app.console.framework.metric_names import name_metric
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites
from app.console.sites.box_page import (
    BOXES_PATH,
    build_box_page,
    build_box_path,
    may_change_boxes,
    read_box_parts,
    read_box_with_site,
)
from app.console.sites.box_setup import prepare_instructions, suggest_kinds
from app.console.sites.explorer_view import prepare_explorer
from app.console.sites.place_forms import BOX_PATHS, make_box_body, read_box_fields
from app.platform.identity.session_cookie import CONSOLE_PATH

router: Final = APIRouter(prefix=BOXES_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("/{box}")
async def show_box(visit: Visit, box: str) -> Response:
    """Show a box."""
    found, site = await read_box_with_site(visit, box)
    parts = await read_box_parts(visit, found)
    firing = [each for each in parts["alerts"] or [] if each["state"] == "firing"]
    explorer = await prepare_explorer(
        visit,
        path=build_box_page(box),
        zone=site["timezone"],
        boxes=[found, *parts["neighbours"]],
        latest=[parts["latest"]] if parts["latest"] else [],
        preferred=[each["metric"] for each in firing],
    )
    return render_console_page(
        visit,
        "sites/box.html",
        title=found["name"] or found["id"],
        section="sites",
        zone=site["timezone"],
        box=found,
        site=site,
        page=build_box_page(box),
        may_change=may_change_boxes(visit),
        explorer=explorer,
        firing=firing,
        past=[each for each in parts["alerts"] or [] if each["state"] != "firing"],
        metric_names={each.name: name_metric(each.name, visit.language) for each in CATALOGUE},
        register=f"/public/sites/{site['id']}?lang={visit.language}",
        **await prepare_instructions(visit, found),
        **parts,
    )


async def _show_form(
    visit: ConsoleVisit, tagged: TaggedResource, form: FormState, status: int = 200
) -> Response:
    box = tagged.data
    return render_console_page(
        visit,
        "sites/box_form.html",
        title=visit.t("Change {name}", name=box["name"] or box["id"]),
        section="sites",
        status=status,
        box=box,
        etag=tagged.etag,
        page=build_box_page(box["id"]),
        stored=read_box_fields(box),
        shown=BOX_PATHS,
        sites=list_site_options(await list_sites(visit)),
        kinds=await suggest_kinds(visit),
        form=form,
    )


@router.get("/{box}/edit")
async def show_box_form(visit: Visit, box: str) -> Response:
    """Show the form of a box."""
    visit.require("boxes:write", "sites:write")
    return await _show_form(visit, await read_tagged(visit, build_box_path(box)), FormState())


@router.post("/{box}/edit")
async def change_box(visit: Visit, box: str) -> Response:
    """Change a box: rename it, move it, label it."""
    fields = await read_console_form(visit)
    path = build_box_path(box)
    try:
        await change_guarded(visit, "PATCH", path, make_box_body(fields), fields)
    except ApiProblemError as error:
        found = await read_tagged(visit, path)
        return await _show_form(visit, found, FormState(fields, error), error.status)
    return redirect_to(visit.request, build_box_page(box), done="saved")


@router.post("/{box}/delete")
async def delete_box(visit: Visit, box: str) -> Response:
    """Delete a box."""
    await read_console_form(visit)
    found = await visit.api.get(build_box_path(box))
    await visit.api.delete(build_box_path(box))
    return redirect_to(visit.request, f"{CONSOLE_PATH}/sites/{found['site_id']}", done="deleted")


async def _show_credentials(
    visit: ConsoleVisit, box: str, credentials: Mapping[str, str] | None = None
) -> Response:
    found, site = await read_box_with_site(visit, box)
    return render_console_page(
        visit,
        "sites/box_credentials.html",
        title=visit.t("Credentials of {name}", name=found["name"] or found["id"]),
        section="sites",
        zone=site["timezone"],
        box=found,
        page=build_box_page(box),
        may_change=may_change_boxes(visit),
        credentials=credentials,
    )


@router.get("/{box}/credentials")
async def show_credentials(visit: Visit, box: str) -> Response:
    """Show whether the box connects, and what can be done about its credentials."""
    return await _show_credentials(visit, box)


@router.post("/{box}/credentials")
async def rotate_credentials(visit: Visit, box: str) -> Response:
    """Create a new password. The page that shows it cannot be read again."""
    fields = await read_console_form(visit)
    answer = await post_once(visit, f"{build_box_path(box)}/credentials", None, fields)
    return await _show_credentials(visit, box, answer["credentials"])


@router.post("/{box}/credentials/revoke")
async def revoke_credentials(visit: Visit, box: str) -> Response:
    """Refuse the connections of the box until it gets new credentials."""
    await read_console_form(visit)
    await visit.api.post(f"{build_box_path(box)}/credentials/revoke")
    return redirect_to(visit.request, f"{build_box_page(box)}/credentials", done="credentials_revoked")
