"""Serves the pages of claim codes: the list, new codes as a sheet of labels, revocation."""

import asyncio
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.fleet.box_registration_router import REGISTER_PATH
from app.console.fleet.claim_labels import draw_qr_code
from app.console.fleet.fleet_router import FLEET_PATH, SECTION
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites

CLAIMS_PATH: Final = f"{FLEET_PATH}/claims"
router: Final = APIRouter(prefix=CLAIMS_PATH, include_in_schema=False, route_class=ConsoleRoute)
LABELS_MAX: Final = 140
"""Ten sheets of 14 labels."""
_PAGE_ROWS: Final = 100
_AT_ONCE: Final = 4
_STATES: Final = ("open", "used_up", "expired", "revoked")


@router.get("")
async def list_claims(visit: Visit) -> Response:
    """List claim codes, the newest first."""
    return await _show_list(visit, FormState())


async def _show_list(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    parameters = visit.query
    state = parameters.get("state", "open")
    filters = {"state": state if state in _STATES else "", "site": parameters.get("site", "")}
    page = await visit.api.get(
        "/v1/claims", **filters, sort="-created_at", cursor=parameters.get("cursor"), limit=_PAGE_ROWS
    )
    sites = await list_sites(visit)
    following = page["next"]
    address = {"state": state, "site": filters["site"]}
    return render_console_page(
        visit,
        "fleet/claims.html",
        title=visit.t("Claim codes"),
        section=SECTION,
        status=status,
        claims=page["data"],
        state=filters["state"],
        site=filters["site"],
        sites=sites,
        site_options=list_site_options(sites),
        site_names={each["id"]: each["name"] for each in sites},
        zones={each["id"]: each["timezone"] for each in sites},
        following=build_next_address(following, address),
        labels_max=LABELS_MAX,
        form=form,
    )


@router.post("")
async def create_claims(visit: Visit) -> Response:
    """Create claim codes, and show them once as a sheet of labels."""
    fields = await read_console_form(visit)
    count = int(fields.one("labels")) if fields.one("labels").isdecimal() else 1
    if not 1 <= count <= LABELS_MAX:
        detail = f"Make 1 to {LABELS_MAX} labels at a time."
        fault = {"field": "labels", "code": "value_out_of_bounds", "detail": detail}
        problem = ApiProblemError({"detail": detail, "code": fault["code"], "errors": [fault]}, 422)
        return await _show_list(visit, FormState(fields, problem), 422)
    try:
        claims = await _create(visit, fields, count)
    except ApiProblemError as error:
        return await _show_list(visit, FormState(fields, error), error.status)
    return await _show_labels(visit, claims)


async def _create(visit: ConsoleVisit, fields: FormFields, count: int) -> list[dict[str, Any]]:
    body = {
        "site_id": fields.one("site_id"),
        "name": fields.optional("name"),
        "boxes": fields.number("boxes") or 1,
        "expires_in": fields.one("expires_in", "P7D"),
    }
    # The first one alone: what the API refuses, it refuses once.
    claims = [await post_once(visit, "/v1/claims", body, fields)]
    permits = asyncio.Semaphore(_AT_ONCE)

    async def create(part: int) -> dict[str, Any]:
        async with permits:
            created: dict[str, Any] = await post_once(visit, "/v1/claims", body, fields, part=part)
            return created

    return claims + list(await asyncio.gather(*(create(part) for part in range(1, count))))


async def _show_labels(visit: ConsoleVisit, claims: list[dict[str, Any]]) -> Response:
    site = await visit.api.get(f"/v1/sites/{claims[0]['site_id']}")
    address = (await visit.api.get("/v1/connection"))["http"]["url"] + REGISTER_PATH
    visit.api.calls[:] = list(dict.fromkeys(visit.api.calls))
    zone = ZoneInfo(site["timezone"])
    labels = [
        {
            "claim": claim,
            "qr": draw_qr_code(f"{address}#{claim['code']}"),
            "until": datetime.fromisoformat(claim["expires_at"]).astimezone(zone).date(),
        }
        for claim in claims
    ]
    return render_console_page(
        visit,
        "fleet/claim_labels.html",
        title=visit.t("Labels of claim codes"),
        section=SECTION,
        status=201,
        zone=site["timezone"],
        site=site,
        labels=labels,
        address=address.partition("://")[2],
    )


@router.post("/{claim_id}/revoke")
async def revoke_claim(visit: Visit, claim_id: str) -> Response:
    """Revoke a claim code: it registers no more boxes."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/claims/{claim_id}")
    return redirect_to(visit.request, CLAIMS_PATH, done="revoked")
