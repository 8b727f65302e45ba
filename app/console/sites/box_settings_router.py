"""Serves the configuration of a box, desired and reported, and the corrections of its values."""

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.catalogue.metrics import CATALOGUE
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.sites.box_page import (
    BOXES_PATH,
    build_box_page,
    build_box_path,
    may_change_boxes,
    read_box_with_site,
)
from app.console.sites.config_diff import compare_configurations, format_configuration
from app.console.sites.explorer_state import parse_local_instant
from app.console.sites.explorer_view import list_metrics
from app.console.sites.place_forms import parse_json_object

router: Final = APIRouter(prefix=BOXES_PATH, include_in_schema=False, route_class=ConsoleRoute)
_UNPROCESSABLE: Final = 422
_CORRECTIONS: Final = 500


async def _show_configuration(visit: ConsoleVisit, box: str, form: FormState, status: int = 200) -> Response:
    found, site = await read_box_with_site(visit, box)
    tagged = await read_tagged(visit, f"{build_box_path(box)}/config")
    configuration = tagged.data
    desired, reported = configuration["desired"], configuration["reported"]
    return render_console_page(
        visit,
        "sites/box_configuration.html",
        title=visit.t("Configuration of {name}", name=found["name"] or found["id"]),
        section="sites",
        status=status,
        zone=site["timezone"],
        box=found,
        page=build_box_page(box),
        may_change=may_change_boxes(visit),
        configuration=configuration,
        etag=tagged.etag,
        differences=compare_configurations(desired, reported),
        stored=format_configuration(desired if desired is not None else reported),
        form=form,
    )


@router.get("/{box}/configuration")
async def show_configuration(visit: Visit, box: str) -> Response:
    """Show the desired configuration beside the reported one."""
    return await _show_configuration(visit, box, FormState())


@router.post("/{box}/configuration")
async def change_configuration(visit: Visit, box: str) -> Response:
    """Set the desired configuration."""
    fields = await read_console_form(visit)
    parsed = parse_json_object(fields.verbatim("config"))
    try:
        if isinstance(parsed, str):
            raise _refuse_json(parsed)
        await change_guarded(visit, "PUT", f"{build_box_path(box)}/config", {"config": parsed}, fields)
    except ApiProblemError as error:
        return await _show_configuration(visit, box, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{build_box_page(box)}/configuration", done="configured")


def _refuse_json(reason: str) -> ApiProblemError:
    detail = f"This is not a JSON object: {reason}"
    fault = {"field": "body.config", "code": "invalid_json", "detail": detail}
    problem = {"detail": detail, "code": "invalid_json", "errors": [fault]}
    return ApiProblemError(problem, _UNPROCESSABLE)


@router.post("/{box}/configuration/remove")
async def remove_configuration(visit: Visit, box: str) -> Response:
    """Remove the desired configuration. The box keeps what it has."""
    await read_console_form(visit)
    await visit.api.delete(f"{build_box_path(box)}/config")
    return redirect_to(visit.request, f"{build_box_page(box)}/configuration", done="deleted")


async def _show_corrections(visit: ConsoleVisit, box: str, form: FormState, status: int = 200) -> Response:
    found, site = await read_box_with_site(visit, box)
    listed = await visit.api.get(f"{build_box_path(box)}/corrections", sort="-valid_from", limit=_CORRECTIONS)
    return render_console_page(
        visit,
        "sites/box_corrections.html",
        title=visit.t("Corrections of {name}", name=found["name"] or found["id"]),
        section="sites",
        status=status,
        zone=site["timezone"],
        box=found,
        page=build_box_page(box),
        corrections=listed["data"],
        metrics=list_metrics({each.name for each in CATALOGUE}, visit.language),
        form=form,
    )


@router.get("/{box}/corrections")
async def show_corrections(visit: Visit, box: str) -> Response:
    """List the corrections of a box, with the form of a new one."""
    return await _show_corrections(visit, box, FormState())


def make_correction_body(fields: FormFields, zone: str) -> dict[str, Any]:
    """Make the body of a correction from its form. Its times are local."""
    humidity = fields.one("kind") == "humidity"
    begin = parse_local_instant(fields.one("valid_from"), ZoneInfo(zone))
    end = parse_local_instant(fields.one("valid_until"), ZoneInfo(zone))
    numbers: Mapping[str, Any] = (
        {"kappa": fields.number("kappa")}
        if humidity
        else {"gain": fields.number("gain"), "offset": fields.number("offset")}
    )
    return {
        "metric": fields.one("metric"),
        "kind": fields.one("kind"),
        **{name: value for name, value in numbers.items() if value is not None},
        "valid_from": fields.one("valid_from") if begin is None else begin.isoformat(),
        "valid_until": fields.optional("valid_until") if end is None else end.isoformat(),
        "note": fields.optional("note"),
    }


@router.post("/{box}/corrections")
async def create_correction(visit: Visit, box: str) -> Response:
    """Define a correction."""
    fields = await read_console_form(visit)
    _, site = await read_box_with_site(visit, box)
    try:
        body = make_correction_body(fields, site["timezone"])
        await visit.api.post(f"{build_box_path(box)}/corrections", body)
    except ApiProblemError as error:
        return await _show_corrections(visit, box, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{build_box_page(box)}/corrections", done="created")


@router.post("/{box}/corrections/{correction_id}/delete")
async def delete_correction(visit: Visit, box: str, correction_id: str) -> Response:
    """Delete a correction: values are as measured again."""
    await read_console_form(visit)
    await visit.api.delete(f"{build_box_path(box)}/corrections/{correction_id}")
    return redirect_to(visit.request, f"{build_box_page(box)}/corrections", done="deleted")
