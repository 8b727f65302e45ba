"""Serves the pages of refused messages: counts, list, one message, replay and deletion."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.fleet.fleet_router import FLEET_PATH, SECTION
from app.console.fleet.payload_excerpt import PayloadExcerpt, locate_fault
from app.console.fleet.rejection_texts import get_rejection_text
from app.console.framework.api_calls import ApiProblemError, build_next_address, encode_query
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.sites.box_page import build_box_path
from app.platform.kernel.ids import parse_id

QUARANTINE_PATH: Final = f"{FLEET_PATH}/quarantine"
router: Final = APIRouter(prefix=QUARANTINE_PATH, include_in_schema=False, route_class=ConsoleRoute)
_CALL: Final = "/v1/quarantine"
_FILTERS: Final = ("box", "code", "door", "since", "replayed")
_SINCE: Final = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
_REPLAYED_BY: Final = ("box", "code", "door")
"""The filters of a replay."""
_PAGE_ROWS: Final = 50
_GROUPS: Final = 12
_SLICE: Final = 200
_COUNTED: Final = ("tried", "replayed", "refused")


@router.get("")
async def list_entries(visit: Visit) -> Response:
    """List refused messages, the newest first, with their counts by reason or box."""
    parameters = visit.query
    filters = {name: parameters[name].strip() for name in _FILTERS if parameters.get(name, "").strip()}
    if "replayed" not in parameters:
        filters["replayed"] = "false"
    group = "box" if parameters.get("by") == "box" else "code"
    form, status = FormState(), 200
    # Counts have no filter by reason: they are the way to one.
    wanted = {name: value for name, value in filters.items() if name != "since"}
    if filters.get("since") in _SINCE:
        wanted["from"] = (datetime.now(UTC) - _SINCE[filters["since"]]).isoformat()
    counted = {name: value for name, value in wanted.items() if name != group}
    try:
        page = await visit.api.get(
            _CALL, **wanted, sort="-received_at", cursor=parameters.get("cursor"), limit=_PAGE_ROWS
        )
        counts = await visit.api.get(f"{_CALL}/counts", group_by=group, **counted, limit=_GROUPS)
    except ApiProblemError as error:
        if error.status == 403 or not parameters:  # noqa: PLR2004
            raise
        page = counts = {"data": [], "next": None}
        form, status = FormState(problem=error), error.status
    following = page["next"]
    address = {**filters, "replayed": filters.get("replayed", ""), "by": group if group == "box" else ""}
    return render_console_page(
        visit,
        "fleet/quarantine.html",
        title=visit.t("Quarantine"),
        section=SECTION,
        status=status,
        entries=page["data"],
        counts=counts["data"],
        more_groups=counts["next"] is not None,
        group=group,
        filters=filters,
        is_filtered=not filters.keys() <= {"replayed"},
        replayed_by={name: filters[name] for name in _REPLAYED_BY if name in filters},
        text_of=get_rejection_text,
        link=_link(address),
        following=build_next_address(following, address),
        form=form,
    )


def _build_path(entry: str) -> str:
    return f"{_CALL}/{parse_id(entry, 'quarantine entry')}"


def _link(address: Mapping[str, str]) -> Any:  # noqa: ANN401 (a function of the template)
    """Make the function that links to the list with other filters."""

    def link(**changes: str) -> str:
        query = encode_query({**address, **changes})
        return f"{QUARANTINE_PATH}?{query}" if query else QUARANTINE_PATH

    return link


@router.post("/replay")
async def replay_entries(visit: Visit) -> Response:
    """Replay a slice of the messages that match filters. The form on the page continues with the next one."""
    fields = await read_console_form(visit)
    filters = {name: fields.one(name) for name in _REPLAYED_BY if fields.one(name)}
    body = {**filters, "limit": _SLICE, "cursor": fields.optional("cursor")}
    summary = await visit.api.post(f"{_CALL}/replay", body)
    counts = {name: summary[name] + _read_count(fields, name) for name in _COUNTED}
    stored = _read_count(fields, "stored") + summary["stored"] + summary["duplicate"]
    return render_console_page(
        visit,
        "fleet/quarantine_replay.html",
        title=visit.t("Replay"),
        section=SECTION,
        filters=filters,
        summary=summary,
        counts={**counts, "stored": stored},
        total=counts["tried"] + (summary["left"] if summary["next"] else 0),
        text_of=get_rejection_text,
        back=f"{QUARANTINE_PATH}?{encode_query(filters)}" if filters else QUARANTINE_PATH,
    )


def _read_count(fields: FormFields, name: str) -> int:
    text = fields.one(f"counted_{name}")
    return int(text) if text.isdecimal() else 0


@router.post("/delete")
async def delete_entries(visit: Visit) -> Response:
    """Delete the selected messages for good."""
    fields = await read_console_form(visit)
    for entry in fields.many("entry")[:_PAGE_ROWS]:
        try:
            await visit.api.delete(_build_path(entry))
        except ApiProblemError as error:
            # Another person deleted it meanwhile.
            if error.code != "not_found":
                raise
    return redirect_to(visit.request, fields.page, done="deleted")


@router.get("/{entry_id}")
async def show_entry(visit: Visit, entry_id: str) -> Response:
    """Show a message with the place of its fault."""
    return await _show_entry(visit, entry_id, FormState())


async def _show_entry(
    visit: ConsoleVisit,
    entry_id: str,
    form: FormState,
    status: int = 200,
    outcome: Mapping[str, Any] | None = None,
) -> Response:
    entry = await visit.api.get(_build_path(entry_id))
    is_text = entry["payload_encoding"] == "utf-8"
    excerpt = locate_fault(entry["payload"], entry["detail"]) if is_text else PayloadExcerpt(entry["payload"])
    box = await visit.api.get_unless_refused(build_box_path(entry["box"])) if entry["box"] else None
    return render_console_page(
        visit,
        "fleet/quarantine_entry.html",
        title=visit.t(get_rejection_text(entry["code"]).title),
        section=SECTION,
        status=status,
        entry=entry,
        text=get_rejection_text(entry["code"]),
        excerpt=excerpt,
        box=box,
        outcome=outcome,
        form=form,
    )


@router.post("/{entry_id}/replay")
async def replay_entry(visit: Visit, entry_id: str) -> Response:
    """Replay a message, after the cause of its refusal was mended."""
    await read_console_form(visit)
    try:
        outcome = await visit.api.post(f"{_build_path(entry_id)}/replay")
    except ApiProblemError as error:
        if error.status in {403, 404}:
            raise
        return await _show_entry(visit, entry_id, FormState(problem=error), error.status)
    return await _show_entry(visit, entry_id, FormState(), outcome=outcome)


@router.post("/{entry_id}/delete")
async def delete_entry(visit: Visit, entry_id: str) -> Response:
    """Delete a message for good."""
    await read_console_form(visit)
    await visit.api.delete(_build_path(entry_id))
    return redirect_to(visit.request, QUARANTINE_PATH, done="deleted")
