"""Serves the pages of reports that are mailed after each day, week or month."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    map_names,
    render_administration,
)
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.guarded_changes import TaggedResource, change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to
from app.console.framework.site_choices import list_sites

_PATH: Final = f"{ADMINISTRATION_PATH}/reports/schedules"
_API: Final = "/v1/report-schedules"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


def split_recipients(text: str) -> list[str]:
    """Split the addresses that a person typed, one a line or separated by commas."""
    return [each.strip() for each in re.split(r"[\n,;]", text) if each.strip()]


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List the schedules, with the next and the last mail of each."""
    given = visit.query
    page = await visit.api.get(_API, site=given.get("site"), cursor=given.get("cursor"), limit=PAGE_ROWS)
    sites = await list_sites(visit)
    following = page["next"]
    return render_administration(
        visit,
        "administration/report_schedules.html",
        title=visit.t("Reports by mail"),
        part="reports",
        schedules=page["data"],
        names=map_names(sites),
        zones={site["id"]: site["timezone"] for site in sites},
        following=build_next_address(following, {"site": given.get("site")}),
    )


@router.get("/new")
async def show_new_schedule(visit: Visit) -> Response:
    """Show the form of a new schedule."""
    visit.require("webhooks:write")
    return await _show_form(visit, None, FormState())


async def _show_form(
    visit: ConsoleVisit, tagged: TaggedResource | None, form: FormState, status: int = 200
) -> Response:
    schedule = None if tagged is None else tagged.data
    runs: Mapping[str, Any] = {"data": []}
    if schedule is not None:
        runs = await visit.api.get(f"{_API}/{schedule['id']}/runs", limit=20)
    sites = await list_sites(visit)
    return render_administration(
        visit,
        "administration/report_schedule.html",
        title=visit.t("Reports by mail"),
        part="reports",
        status=status,
        schedule=schedule,
        etag="" if tagged is None else tagged.etag,
        runs=runs["data"],
        sites=sites,
        names=map_names(sites),
        zones={site["id"]: site["timezone"] for site in sites},
        form=form,
    )


def _read_body(fields: FormFields) -> dict[str, Any]:
    return {
        "report": fields.one("report"),
        "hour": fields.number("hour"),
        "recipients": split_recipients(fields.one("recipients")),
        "formats": fields.many("formats"),
        "language": fields.one("language"),
        "enabled": fields.has("enabled"),
    }


@router.post("")
async def create_schedule(visit: Visit) -> Response:
    """Create a schedule."""
    fields = await read_console_form(visit)
    body = {**_read_body(fields), "site_id": fields.one("site_id")}
    try:
        made = await visit.api.post(_API, body)
    except ApiProblemError as error:
        return await _show_form(visit, None, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{made['id']}", done="created")


@router.get("/{schedule_id}")
async def show_one(visit: Visit, schedule_id: str) -> Response:
    """Show a schedule with its last mails."""
    return await _show_form(visit, await read_tagged(visit, f"{_API}/{schedule_id}"), FormState())


@router.post("/{schedule_id}")
async def change_schedule(visit: Visit, schedule_id: str) -> Response:
    """Change a schedule."""
    fields = await read_console_form(visit)
    path = f"{_API}/{schedule_id}"
    try:
        await change_guarded(visit, "PATCH", path, _read_body(fields), fields)
    except ApiProblemError as error:
        return await _show_form(visit, await read_tagged(visit, path), FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{schedule_id}", done="saved")


@router.post("/{schedule_id}/send")
async def send_now(visit: Visit, schedule_id: str) -> Response:
    """Mail the report of the last complete period now."""
    await read_console_form(visit)
    path = f"{_API}/{schedule_id}"
    try:
        await visit.api.post(f"{path}/send")
    except ApiProblemError as error:
        state = FormState(problem=error)
        return await _show_form(visit, await read_tagged(visit, path), state, error.status)
    return redirect_to(visit.request, f"{_PATH}/{schedule_id}", done="report_requested")


@router.post("/{schedule_id}/delete")
async def delete_schedule(visit: Visit, schedule_id: str) -> Response:
    """Delete a schedule."""
    await read_console_form(visit)
    await visit.api.delete(f"{_API}/{schedule_id}")
    return redirect_to(visit.request, _PATH, done="deleted")
