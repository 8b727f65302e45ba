"""Serves the pages of organisations: the tree, settings, quotas with their use, creation and deletion."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    list_organisations,
    render_administration,
)
from app.console.administration.administration_words import QUOTAS, build_tree, list_quota_uses
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to

_PATH: Final = f"{ADMINISTRATION_PATH}/organisations"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def list_all(visit: Visit) -> Response:
    """Show the tree of organisations; a client's own page if there is no other."""
    own = visit.me["organisation"]
    if own["kind"] == "client":
        return redirect_to(visit.request, f"{_PATH}/{own['id']}")
    page = await visit.api.get("/v1/organisations", q=visit.query.get("q"), limit=1000, sort="name")
    return render_administration(
        visit,
        "administration/organisations.html",
        title=visit.t("Organisations"),
        part="organisations",
        tree=build_tree(page["data"]),
        search=visit.query.get("q", ""),
        is_cut=page["next"] is not None,
    )


@router.get("/new")
async def show_new_organisation(visit: Visit) -> Response:
    """Show the form of a new organisation."""
    visit.require("organisations:write")
    return await _show_new(visit, FormState())


async def _show_new(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    organisations = await list_organisations(visit)
    return render_administration(
        visit,
        "administration/organisation_new.html",
        title=visit.t("New organisation"),
        part="organisations",
        status=status,
        parents=[each for each in organisations if each["kind"] != "client"],
        form=form,
    )


@router.post("")
async def create_organisation(visit: Visit) -> Response:
    """Create an organisation."""
    fields = await read_console_form(visit)
    body: dict[str, Any] = {"name": fields.one("name"), "kind": fields.one("kind") or "client"}
    if body["kind"] == "client" and fields.one("parent_id"):
        body["parent_id"] = fields.one("parent_id")
    try:
        made = await visit.api.post("/v1/organisations", body)
    except ApiProblemError as error:
        return await _show_new(visit, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{made['id']}", done="created")


@router.get("/{organisation_id}")
async def show_one(visit: Visit, organisation_id: str) -> Response:
    """Show an organisation."""
    return await _show_one(visit, organisation_id)


async def _show_one(
    visit: ConsoleVisit,
    organisation_id: str,
    *,
    profile: FormState | None = None,
    quotas: FormState | None = None,
    problem: FormState | None = None,
    status: int = 200,
) -> Response:
    path = f"/v1/organisations/{organisation_id}"
    tagged, limits, usage = await asyncio.gather(
        read_tagged(visit, path), read_tagged(visit, f"{path}/quotas"), visit.api.get(f"{path}/usage")
    )
    organisation = tagged.data
    is_own = organisation["id"] == visit.me["organisation"]["id"]
    return render_administration(
        visit,
        "administration/organisation.html",
        title=organisation["name"],
        part="organisations",
        status=status,
        organisation=organisation,
        uses=list_quota_uses(usage, with_clients=organisation["kind"] != "client"),
        resets_at=usage["resets_at"],
        etag=tagged.etag,
        limits=limits,
        is_own=is_own,
        sets_quotas=visit.can("organisations:write") and (visit.me["platform"] or not is_own),
        profile=profile or FormState(),
        quotas=quotas or FormState(),
        form=problem or FormState(),
    )


@router.post("/{organisation_id}")
async def change_organisation(visit: Visit, organisation_id: str) -> Response:
    """Change the name, or whether a second factor is required."""
    fields = await read_console_form(visit)
    body = {
        "name": fields.one("name"),
        "second_factor_required": fields.has("second_factor_required"),
    }
    try:
        await change_guarded(visit, "PATCH", f"/v1/organisations/{organisation_id}", body, fields)
    except ApiProblemError as error:
        state = FormState(fields, error)
        return await _show_one(visit, organisation_id, profile=state, status=error.status)
    return redirect_to(visit.request, f"{_PATH}/{organisation_id}", done="saved")


@router.post("/{organisation_id}/quotas")
async def set_quotas(visit: Visit, organisation_id: str) -> Response:
    """Set the quotas. An empty field means the default of the installation."""
    fields = await read_console_form(visit)
    body = {name: fields.number(name) for name in QUOTAS if fields.has(name)}
    try:
        await change_guarded(visit, "PUT", f"/v1/organisations/{organisation_id}/quotas", body, fields)
    except ApiProblemError as error:
        state = FormState(fields, error)
        return await _show_one(visit, organisation_id, quotas=state, status=error.status)
    return redirect_to(visit.request, f"{_PATH}/{organisation_id}#quotas", done="saved")


@router.post("/{organisation_id}/delete")
async def delete_organisation(visit: Visit, organisation_id: str) -> Response:
    """Delete an empty organisation."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(f"/v1/organisations/{organisation_id}")
    except ApiProblemError as error:
        state = FormState(fields, error)
        return await _show_one(visit, organisation_id, problem=state, status=error.status)
    return redirect_to(visit.request, _PATH, done="deleted")
