"""Serves the pages of people's requests about their data: the list by deadline, and one request."""

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
from app.console.framework.page_rendering import redirect_to
from app.console.framework.site_choices import list_sites

_PATH: Final = f"{ADMINISTRATION_PATH}/requests"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FILTERS: Final = ("state", "kind", "site", "overdue")
_OPEN: Final = frozenset({"received", "in_progress"})


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List requests, the earliest deadline first."""
    given = visit.query
    filters = {name: given[name] for name in _FILTERS if given.get(name)}
    page = await visit.api.get(
        "/v1/rights-requests", **filters, sort="due_at", cursor=given.get("cursor"), limit=PAGE_ROWS
    )
    sites = await list_sites(visit)
    following = page["next"]
    return render_administration(
        visit,
        "administration/rights.html",
        title=visit.t("People's requests"),
        part="requests",
        requests=page["data"],
        sites=sites,
        names=map_names(sites),
        filters=filters,
        following=build_next_address(following, filters),
    )


@router.get("/{request_id}")
async def show_one(visit: Visit, request_id: str) -> Response:
    """Show a request with what Vigie holds about it."""
    return await _show_one(visit, request_id, FormState())


async def _show_one(
    visit: ConsoleVisit, request_id: str, form: FormState, status: int = 200, *, sent: str = ""
) -> Response:
    path = f"/v1/rights-requests/{request_id}"
    request, findings = await visit.api.get_all(path, f"{path}/findings")
    site = request["site_id"] and await visit.api.get_unless_refused(f"/v1/sites/{request['site_id']}")
    forms = {name: form if name == sent else FormState() for name in ("answer", "extend", "change", "delete")}
    return render_administration(
        visit,
        "administration/rights_request.html",
        title=request["reference"],
        part="requests",
        status=status,
        request_=request,
        findings=findings,
        site=site,
        is_open=request["state"] in _OPEN,
        forms=forms,
    )


async def _act(visit: ConsoleVisit, request_id: str, name: str, fields: FormFields, body: object) -> Response:
    path = f"/v1/rights-requests/{request_id}"
    try:
        if name == "change":
            await visit.api.patch(path, body)
        else:
            await visit.api.post(f"{path}/{name}", body)
    except ApiProblemError as error:
        return await _show_one(visit, request_id, FormState(fields, error), error.status, sent=name)
    return redirect_to(visit.request, f"{_PATH}/{request_id}", done="saved")


@router.post("/{request_id}/change")
async def change_request(visit: Visit, request_id: str) -> Response:
    """Change the state or the internal note."""
    fields = await read_console_form(visit)
    body: dict[str, Any] = {"note": fields.optional("note")}
    if fields.one("state"):
        body["state"] = fields.one("state")
    return await _act(visit, request_id, "change", fields, body)


@router.post("/{request_id}/extend")
async def extend_deadline(visit: Visit, request_id: str) -> Response:
    """Extend the deadline by two months."""
    fields = await read_console_form(visit)
    return await _act(visit, request_id, "extend", fields, {"reason": fields.one("reason")})


@router.post("/{request_id}/answer")
async def answer_request(visit: Visit, request_id: str) -> Response:
    """Answer the request. The answer is final."""
    fields = await read_console_form(visit)
    body = {"outcome": fields.one("outcome"), "answer": fields.one("answer")}
    return await _act(visit, request_id, "answer", fields, body)


@router.post("/{request_id}/delete")
async def delete_request(visit: Visit, request_id: str) -> Response:
    """Delete a closed request."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(f"/v1/rights-requests/{request_id}")
    except ApiProblemError as error:
        return await _show_one(visit, request_id, FormState(fields, error), error.status, sent="delete")
    return redirect_to(visit.request, _PATH, done="deleted")
