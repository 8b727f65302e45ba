"""Serves the pages of the audit log: the list, an entry with its proof, the head, and the export."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    PAGE_ROWS,
    list_organisations,
    map_names,
    render_administration,
)
from app.console.administration.local_inputs import parse_local_time
from app.console.framework.api_calls import build_next_address, encode_query
from app.console.framework.api_streams import stream_file
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import UTC_NAME, ConsoleVisit, Visit

_PATH: Final = f"{ADMINISTRATION_PATH}/audit"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FILTERS: Final = ("organisation", "action", "actor", "subject", "subject_kind", "from", "to")


def is_hash_right(entry: Mapping[str, Any]) -> bool:
    """Return whether the hash of an entry is that of its text and of the entry before it."""
    try:
        previous = bytes.fromhex(entry["previous"])
    except ValueError:
        return False
    digest = hashlib.sha256(previous + str(entry["record"]).encode()).hexdigest()
    return digest == str(entry["hash"])


@router.get("")
async def list_all(visit: Visit) -> Response:
    """List entries, the newest first."""
    given = visit.query
    filters = {name: given[name] for name in _FILTERS if given.get(name)}
    period = {name: parse_local_time(filters.get(name, ""), UTC_NAME) for name in ("from", "to")}
    asked = {**filters, **period}
    page = await visit.api.get("/v1/audit", **asked, cursor=given.get("cursor"), limit=PAGE_ROWS)
    head = await visit.api.get("/v1/audit/head", organisation=filters.get("organisation"))
    organisations = await list_organisations(visit)
    with_names = given.get("names") == "yes" and visit.can("members:read")
    following = page["next"]
    kept = {**filters, "names": "yes" if with_names else None}
    return render_administration(
        visit,
        "administration/audit.html",
        title=visit.t("Audit log"),
        part="audit",
        zone=UTC_NAME,
        entries=page["data"],
        head=head,
        organisations=organisations,
        names=map_names(organisations),
        people=await _name_people(visit) if with_names else {visit.me["id"]: visit.me["name"]},
        with_names=with_names,
        filters=filters,
        export=encode_query({name: filters.get(name) for name in ("organisation", "from", "to")}),
        following=build_next_address(following, kept),
    )


async def _name_people(visit: ConsoleVisit) -> dict[str, str]:
    page = await visit.api.get("/v1/members", limit=1000)
    return {each["user_id"]: each["name"] for each in page["data"]}


@router.get("/export")
async def export_audit_log(visit: Visit) -> Response:
    """Download the log of one organisation as NDJSON."""
    given = visit.query
    query = {
        "organisation": given.get("organisation"),
        **{name: parse_local_time(given.get(name, ""), UTC_NAME) for name in ("from", "to")},
    }
    return await stream_file(visit.api, "/v1/audit/export", query)


@router.get("/{position}")
async def show_entry(visit: Visit, position: int) -> Response:
    """Show an entry with its proof, and check it against the entry before it."""
    organisation = visit.query.get("organisation")
    entry = await visit.api.get(f"/v1/audit/{position}", organisation=organisation)
    before = None
    if position > 1:
        before = await visit.api.get_unless_refused(f"/v1/audit/{position - 1}", organisation=organisation)
    head = await visit.api.get("/v1/audit/head", organisation=organisation)
    return render_administration(
        visit,
        "administration/audit_entry.html",
        title=entry["action"],
        part="audit",
        # As the entry itself, whose hash is checked.
        zone=UTC_NAME,
        entry=entry,
        head=head,
        is_right=is_hash_right(entry),
        is_linked=before["hash"] == entry["previous"] if before else position == 1,
        organisation=organisation,
    )
