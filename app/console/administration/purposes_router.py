"""Serves the pages of purposes: those of all sites, their declarations, approvals and ends."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    render_administration,
)
from app.console.administration.local_inputs import format_local_time, parse_local_time
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to

_PATH: Final = f"{ADMINISTRATION_PATH}/purposes"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)
_API: Final = "/v1/site-purposes"
_WAITING: Final = "awaiting_approval"
_SITES_A_PAGE: Final = 25
_COUNTED: Final = 1000
_TEXTS: Final = (
    *("legal_basis", "legal_reference", "controller", "contact"),
    *("impact_assessment", "notice", "description", "description_fr"),
)


async def count_waiting_purposes(visit: ConsoleVisit) -> int:
    """Count the purposes of all sites that wait for an approval; a thousand stands for more."""
    page = await visit.api.get(_API, state=_WAITING, limit=_COUNTED)
    return len(page["data"])


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List the purposes of all sites, or those in a state, such as those that wait for an approval."""
    given = visit.query
    filters = {name: given[name] for name in ("q", "state") if given.get(name)}
    read = _read_in_state if "state" in filters else _read_by_site
    sites, purposes, following = await read(visit, filters, given.get("cursor"))
    return render_administration(
        visit,
        "administration/purposes.html",
        title=visit.t("Purposes"),
        part="purposes",
        sites=sites,
        purposes=purposes,
        filters=filters,
        following=build_next_address(following, filters),
    )


type _Purposes = tuple[Sequence[Mapping[str, Any]], Mapping[str, Sequence[Mapping[str, Any]]], str | None]
"""Sites, their purposes by the ids of the sites, and the cursor of the next page."""


async def _read_by_site(visit: ConsoleVisit, filters: Mapping[str, str], cursor: str | None) -> _Purposes:
    """Read all purposes of a page of sites, also those that are not declared."""
    page = await visit.api.get(
        "/v1/sites", q=filters.get("q"), sort="name", cursor=cursor, limit=_SITES_A_PAGE
    )
    sites = page["data"]
    found = await visit.api.get_all(*(f"/v1/sites/{site['id']}/purposes" for site in sites))
    return sites, {site["id"]: each["data"] for site, each in zip(sites, found, strict=True)}, page["next"]


async def _read_in_state(visit: ConsoleVisit, filters: Mapping[str, str], cursor: str | None) -> _Purposes:
    """Read a page of the purposes in a state, with their sites."""
    page = await visit.api.get(_API, **filters, cursor=cursor, limit=PAGE_ROWS)
    sites: dict[str, Mapping[str, Any]] = {}
    purposes: dict[str, list[Mapping[str, Any]]] = {}
    for each in page["data"]:
        site = each["site_id"]
        sites[site] = {"id": site, "name": each["site_name"], "timezone": each["timezone"]}
        purposes.setdefault(site, []).append(each)
    return list(sites.values()), purposes, page["next"]


@router.get("/{site_id}/{purpose}")
async def show_one(visit: Visit, site_id: str, purpose: str) -> Response:
    """Show a purpose of a site."""
    return await _show_one(visit, site_id, purpose, FormState())


async def _show_one(
    visit: ConsoleVisit, site_id: str, purpose: str, form: FormState, status: int = 200
) -> Response:
    tagged = await read_tagged(visit, f"/v1/sites/{site_id}/purposes/{purpose}")
    declared = tagged.data
    site = await visit.api.get(f"/v1/sites/{site_id}")
    return render_administration(
        visit,
        "administration/purpose.html",
        title=declared["title_fr" if visit.language == "fr" else "title"],
        part="purposes",
        status=status,
        site=site,
        purpose=declared,
        # The approval covers exactly the declaration that this page shows.
        version=tagged.etag,
        is_own=declared["declared_by"] == visit.me["id"],
        form=form,
    )


@router.get("/{site_id}/{purpose}/declare")
async def show_declaration(visit: Visit, site_id: str, purpose: str) -> Response:
    """Show the form of a declaration."""
    visit.require("sites:write")
    return await _show_declaration(visit, site_id, purpose, FormState())


async def _show_declaration(
    visit: ConsoleVisit, site_id: str, purpose: str, form: FormState, status: int = 200
) -> Response:
    tagged = await read_tagged(visit, f"/v1/sites/{site_id}/purposes/{purpose}")
    declared = tagged.data
    site, catalogue = await visit.api.get_all(f"/v1/sites/{site_id}", "/v1/purposes")
    entry = next(each for each in catalogue["data"] if each["name"] == declared["purpose"])
    zone = site["timezone"]
    return render_administration(
        visit,
        "administration/purpose_declare.html",
        title=visit.t("Declare a purpose"),
        part="purposes",
        status=status,
        site=site,
        purpose=declared,
        etag=tagged.etag,
        needed=entry["required"],
        starts_at=format_local_time(declared["starts_at"], zone),
        ends_at=format_local_time(declared["ends_at"], zone),
        form=form,
    )


@router.post("/{site_id}/{purpose}/declare")
async def declare_purpose(visit: Visit, site_id: str, purpose: str) -> Response:
    """Declare a purpose, or replace its declaration."""
    fields = await read_console_form(visit)
    zone = (await visit.api.get(f"/v1/sites/{site_id}"))["timezone"]
    body: dict[str, Any] = {name: fields.optional(name) for name in _TEXTS}
    body["open_data"] = fields.has("open_data")
    for name in ("starts_at", "ends_at"):
        body[name] = parse_local_time(fields.one(name), zone)
    try:
        await change_guarded(visit, "PUT", f"/v1/sites/{site_id}/purposes/{purpose}", body, fields)
    except ApiProblemError as error:
        return await _show_declaration(visit, site_id, purpose, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{site_id}/{purpose}", done="declared")


@router.post("/{site_id}/{purpose}/approve")
async def approve_purpose(visit: Visit, site_id: str, purpose: str) -> Response:
    """Approve a purpose that another person declared, as that person declared it."""
    fields = await read_console_form(visit)
    path = f"/v1/sites/{site_id}/purposes/{purpose}/approve"
    try:
        await visit.api.post(path, If_Match=fields.one("version"))
    except ApiProblemError as error:
        return await _show_one(visit, site_id, purpose, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{site_id}/{purpose}", done="approved")


@router.post("/{site_id}/{purpose}/end")
async def end_purpose(visit: Visit, site_id: str, purpose: str) -> Response:
    """End a purpose now: its data are refused from then on."""
    fields = await read_console_form(visit)
    try:
        await visit.api.post(f"/v1/sites/{site_id}/purposes/{purpose}/end", {})
    except ApiProblemError as error:
        return await _show_one(visit, site_id, purpose, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{_PATH}/{site_id}/{purpose}", done="purpose_ended")
