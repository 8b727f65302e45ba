"""Serves the pages of API keys: the list, creation with scopes and sites, the key shown once, revocation."""

from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    list_organisations,
    map_names,
    render_administration,
)
from app.console.administration.administration_words import group_scopes
from app.console.administration.local_inputs import parse_local_time
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.page_rendering import redirect_to
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_sites, read_site_choice

_PATH: Final = f"{ADMINISTRATION_PATH}/keys"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List keys in use, or revoked ones."""
    given = visit.query
    filters = {name: given[name] for name in ("q", "revoked", "organisation") if given.get(name)}
    page = await visit.api.get(
        "/v1/api-keys", **filters, sort="-created_at", cursor=given.get("cursor"), limit=PAGE_ROWS
    )
    organisations = await list_organisations(visit)
    following = page["next"]
    return render_administration(
        visit,
        "administration/keys.html",
        title=visit.t("API keys"),
        part="keys",
        keys=page["data"],
        organisations=organisations,
        names=map_names(organisations),
        sites=map_names(await list_sites(visit)),
        filters=filters,
        following=build_next_address(following, filters),
    )


@router.get("/new")
async def show_new_key(visit: Visit) -> Response:
    """Show the form of a new key."""
    visit.require("organisations:write")
    return await _show_new(visit, FormState())


async def _show_new(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    return render_administration(
        visit,
        "administration/key_new.html",
        title=visit.t("New API key"),
        part="keys",
        status=status,
        groups=group_scopes(visit.me["scopes"]),
        organisations=await list_organisations(visit),
        sites=await list_sites(visit),
        form=form,
    )


@router.post("")
async def create_key(visit: Visit) -> Response:
    """Create a key, and show it once."""
    fields = await read_console_form(visit)
    body: dict[str, Any] = {
        "name": fields.one("name"),
        "scopes": ["*"] if fields.one("rights") == "all" else fields.many("scopes"),
        "site_ids": read_site_choice(fields),
        "expires_at": parse_local_time(fields.one("expires_at"), visit.zone),
    }
    if fields.one("organisation_id"):
        body["organisation_id"] = fields.one("organisation_id")
    try:
        made = await post_once(visit, "/v1/api-keys", body, fields)
    except ApiProblemError as error:
        return await _show_new(visit, FormState(fields, error), error.status)
    # Not a redirect: the key is shown once.
    return render_administration(
        visit, "administration/key_created.html", title=visit.t("New API key"), part="keys", made=made
    )


@router.post("/{key_id}/revoke")
async def revoke_key(visit: Visit, key_id: str) -> Response:
    """Revoke a key."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/api-keys/{key_id}")
    return redirect_to(visit.request, _PATH, done="revoked")
