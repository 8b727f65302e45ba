"""Serves the pages of grants: the list, a new one, its link shown once, changes, keys, acceptances, uses."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.catalogue.metrics import METRICS_BY_NAME
from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    list_organisations,
    map_names,
    render_administration,
)
from app.console.administration.local_inputs import format_local_time, parse_local_time
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.guarded_changes import change_guarded, read_tagged
from app.console.framework.metric_names import label_metric, name_metric
from app.console.framework.page_rendering import redirect_to
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_sites

_PATH: Final = f"{ADMINISTRATION_PATH}/grants"
_API: Final = "/v1/grants"
_FILTERS: Final = ("q", "state", "site", "organisation")
_EXACT: Final = "exact"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List the grants, the newest first."""
    given = visit.query
    filters = {name: given[name] for name in _FILTERS if given.get(name)}
    page = await visit.api.get(_API, **filters, cursor=given.get("cursor"), limit=PAGE_ROWS)
    organisations = await list_organisations(visit)
    sites = await list_sites(visit)
    return render_administration(
        visit,
        "administration/grants.html",
        title=visit.t("Grants"),
        part="grants",
        grants=page["data"],
        organisations=organisations,
        names=map_names(organisations),
        sites=sites,
        site_titles=map_names(sites),
        filters=filters,
        following=build_next_address(page["next"], filters),
    )


@router.get("/new")
async def show_new_grant(visit: Visit) -> Response:
    """Show the form of a new grant."""
    visit.require("grants:write")
    return await _show_new(visit, FormState())


async def _show_new(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    return render_administration(
        visit,
        "administration/grant_new.html",
        title=visit.t("New grant"),
        part="grants",
        status=status,
        organisations=await list_organisations(visit),
        sites=await list_sites(visit),
        metrics=[(name, label_metric(name, visit.language)) for name in METRICS_BY_NAME],
        form=form,
    )


def _read_content(fields: FormFields, zone: str) -> dict[str, Any]:
    precision = fields.one("precision_m")
    return {
        "purpose": fields.one("purpose"),
        "site_ids": fields.many("site_ids"),
        "metrics": fields.many("metrics"),
        "from": parse_local_time(fields.one("from"), zone),
        "until": parse_local_time(fields.one("until"), zone),
        "precision_m": None if precision == _EXACT else fields.number("precision_m"),
        "terms": fields.verbatim("terms").replace("\r\n", "\n").strip(),
        "valid_until": parse_local_time(fields.one("valid_until"), zone),
        "is_recipient_published": fields.has("is_recipient_published"),
    }


@router.post("")
async def create_grant(visit: Visit) -> Response:
    """Create a grant, and show its link once."""
    fields = await read_console_form(visit)
    body = {
        **_read_content(fields, visit.zone),
        "recipient": fields.one("recipient"),
        "recipient_country": fields.one("recipient_country").upper(),
        "contact": fields.one("contact"),
    }
    if fields.one("organisation_id"):
        body["organisation_id"] = fields.one("organisation_id")
    try:
        made = await post_once(visit, _API, body, fields)
    except ApiProblemError as error:
        return await _show_new(visit, FormState(fields, error), error.status)
    return _show_link(visit, made)


def _show_link(visit: ConsoleVisit, made: Mapping[str, Any]) -> Response:
    """Show a link. It is no redirect, as the link is shown once."""
    return render_administration(
        visit, "administration/grant_link.html", title=visit.t("Grants"), part="grants", made=made
    )


@router.get("/{grant_id}")
async def show_one(visit: Visit, grant_id: str) -> Response:
    """Show a grant with its keys, acceptances and uses."""
    return await _show(visit, grant_id, FormState())


async def _show(visit: ConsoleVisit, grant_id: str, form: FormState, status: int = 200) -> Response:
    path = f"{_API}/{grant_id}"
    tagged = await read_tagged(visit, path)
    grant = tagged.data
    cursor = visit.query.get("cursor")
    uses = await visit.api.get(f"{path}/uses", limit=PAGE_ROWS, cursor=cursor)
    keys = await visit.api.get(f"{path}/keys")
    acceptances = await visit.api.get(f"{path}/acceptances")
    sites = await list_sites(visit)
    return render_administration(
        visit,
        "administration/grant.html",
        title=grant["recipient"],
        part="grants",
        status=status,
        grant=grant,
        etag=tagged.etag,
        keys=keys["data"],
        hints={key["id"]: key["hint"] for key in keys["data"]},
        acceptances=acceptances["data"],
        uses=uses["data"],
        following=build_next_address(uses["next"], {}),
        sites=sites,
        site_titles=map_names(sites),
        metric_names={name: name_metric(name, visit.language) for name in METRICS_BY_NAME},
        metrics=[(name, label_metric(name, visit.language)) for name in METRICS_BY_NAME],
        times={name: format_local_time(grant[name], visit.zone) for name in ("from", "until", "valid_until")},
        form=form,
    )


@router.post("/{grant_id}")
async def change_grant(visit: Visit, grant_id: str) -> Response:
    """Change a grant; show a new link if the recipient has to accept the change."""
    fields = await read_console_form(visit)
    body = {**_read_content(fields, visit.zone), "contact": fields.one("contact")}
    grant = await visit.api.get(f"{_API}/{grant_id}")
    changed = {name: value for name, value in body.items() if not _is_same(name, value, grant, visit.zone)}
    try:
        made = await change_guarded(visit, "PATCH", f"{_API}/{grant_id}", changed, fields)
    except ApiProblemError as error:
        return await _show(visit, grant_id, FormState(fields, error), error.status)
    if made["link"] is not None:
        return _show_link(visit, made)
    return redirect_to(visit.request, f"{_PATH}/{grant_id}", done="saved")


def _is_same(name: str, value: object, grant: Mapping[str, Any], zone: str) -> bool:
    """Return whether a field of the form is as stored. Inputs of times have no seconds."""
    stored = grant[name]
    if name in {"from", "until", "valid_until"} and isinstance(stored, str):
        return value == parse_local_time(format_local_time(stored, zone), zone)
    if isinstance(value, list):
        return sorted(value) == sorted(stored)
    return bool(value == stored)


@router.post("/{grant_id}/link")
async def renew_link(visit: Visit, grant_id: str) -> Response:
    """Make a new link, and show it once."""
    await read_console_form(visit)
    return _show_link(visit, await visit.api.post(f"{_API}/{grant_id}/link"))


@router.post("/{grant_id}/suspend")
async def suspend_grant(visit: Visit, grant_id: str) -> Response:
    """Suspend a grant, or let it continue."""
    fields = await read_console_form(visit)
    suspended = fields.one("suspended") == "yes"
    await visit.api.patch(f"{_API}/{grant_id}", {"suspended": suspended})
    done = "suspended" if suspended else "resumed"
    return redirect_to(visit.request, f"{_PATH}/{grant_id}", done=done)


@router.post("/{grant_id}/revoke")
async def revoke_grant(visit: Visit, grant_id: str) -> Response:
    """Revoke a grant."""
    await read_console_form(visit)
    await visit.api.delete(f"{_API}/{grant_id}")
    return redirect_to(visit.request, f"{_PATH}/{grant_id}", done="revoked")


@router.post("/{grant_id}/keys/{grant_key_id}/revoke")
async def revoke_key(visit: Visit, grant_id: str, grant_key_id: str) -> Response:
    """Revoke a key of a grant."""
    await read_console_form(visit)
    await visit.api.delete(f"{_API}/{grant_id}/keys/{grant_key_id}")
    return redirect_to(visit.request, f"{_PATH}/{grant_id}", done="revoked")
