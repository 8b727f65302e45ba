"""Serves the page of provisioning keys, with which boxes register themselves."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.fleet.fleet_router import FLEET_PATH, SECTION
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites

KEYS_PATH: Final = f"{FLEET_PATH}/provisioning-keys"
router: Final = APIRouter(prefix=KEYS_PATH, include_in_schema=False, route_class=ConsoleRoute)
_CALL: Final = "/v1/provisioning-keys"
_PAGE_ROWS: Final = 100


@router.get("")
async def list_keys(visit: Visit) -> Response:
    """List provisioning keys, the newest first."""
    return await _show(visit, FormState())


async def _show(
    visit: ConsoleVisit, form: FormState, status: int = 200, created: dict[str, Any] | None = None
) -> Response:
    parameters = visit.query
    revoked = parameters.get("revoked") == "yes"
    page = await visit.api.get(
        _CALL, revoked=revoked, sort="-created_at", cursor=parameters.get("cursor"), limit=_PAGE_ROWS
    )
    sites = await list_sites(visit)
    following = page["next"]
    address = {"revoked": "yes" if revoked else ""}
    return render_console_page(
        visit,
        "fleet/provisioning_keys.html",
        title=visit.t("Provisioning keys"),
        section=SECTION,
        status=status,
        keys=page["data"],
        revoked=revoked,
        created=created,
        url=(await visit.api.get("/v1/connection"))["http"]["url"] if created else "",
        sites=sites,
        site_options=list_site_options(sites),
        site_names={each["id"]: each["name"] for each in sites},
        zones={each["id"]: each["timezone"] for each in sites},
        following=build_next_address(following, address),
        form=form,
    )


@router.post("")
async def create_key(visit: Visit) -> Response:
    """Create a provisioning key, and show it once."""
    fields = await read_console_form(visit)
    zones = {each["id"]: each["timezone"] for each in await list_sites(visit)}
    try:
        created = await post_once(visit, _CALL, _read_key(fields, zones), fields)
    except ApiProblemError as error:
        return await _show(visit, FormState(fields, error), error.status)
    return await _show(visit, FormState(), 201, created)


def _read_key(fields: FormFields, zones: dict[str, str]) -> dict[str, Any]:
    site = fields.one("site_id")
    return {
        "site_id": site,
        "name": fields.one("name"),
        "id_prefix": fields.optional("id_prefix"),
        "limit": fields.number("limit"),
        "expires_at": _read_end_of_day(fields.one("expires_on"), zones.get(site, "UTC")),
    }


def _read_end_of_day(day: str, zone: str) -> str | None:
    """Return the end of a day in a time zone; text that is no day stays as it is, and the API refuses it."""
    if not day:
        return None
    try:
        return datetime.fromisoformat(f"{day}T23:59:59").replace(tzinfo=ZoneInfo(zone)).isoformat()
    except ValueError:
        return day


@router.post("/{key_id}/revoke")
async def revoke_key(visit: Visit, key_id: str) -> Response:
    """Revoke a key: it registers no more boxes."""
    await read_console_form(visit)
    await visit.api.delete(f"{_CALL}/{key_id}")
    return redirect_to(visit.request, KEYS_PATH, done="revoked")
