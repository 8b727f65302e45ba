"""Serves the pages of alerts: the list with its filters, and actions on many alerts."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.alerts import silence_subjects
from app.console.alerts.silence_choices import SILENCE_ENDS, build_silence_end
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.site_choices import list_sites
from app.console.incidents.alert_groups import AlertGroup, group_alerts
from app.platform.identity.session_cookie import CONSOLE_PATH

ALERTS_PATH: Final = f"{CONSOLE_PATH}/alerts"
router: Final = APIRouter(prefix=ALERTS_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FILTERS: Final = (
    *("state", "severity", "site", "box", "rule", "metric", "tag"),
    *("acknowledged", "assignee", "suppressed", "dry_run", "from", "to", "incident"),
)
_DONE: Final = MappingProxyType(
    {"acknowledge": "acknowledged", "assign": "assigned", "silence": "silenced", "comment": "commented"}
)
_MAIN_FILTERS: Final = frozenset({"state", "severity", "site", "acknowledged", "incident"})
UTC: Final = ZoneInfo("UTC")
_PAGE_ROWS: Final = 50


@router.get("")
async def list_alerts(visit: Visit) -> Response:
    """List alerts. The filters are in the address, which can be shared."""
    return await _show_list(visit, FormState())


def _read_filters(visit: ConsoleVisit) -> dict[str, str]:
    parameters = visit.query
    filters = {name: parameters[name] for name in _FILTERS if parameters.get(name)}
    if "state" not in parameters:
        filters["state"] = "firing"
    return filters


def build_period(filters: Mapping[str, str], zone: ZoneInfo) -> dict[str, str]:
    """Return the filters with days as instants: from the start of a local day to the end of another one."""
    made = dict(filters)
    for name, days in (("from", 0), ("to", 1)):
        with suppress(KeyError, ValueError):
            day = date.fromisoformat(filters[name]) + timedelta(days=days)
            made[name] = datetime.combine(day, time(), zone).isoformat()
    return made


async def _show_list(
    visit: ConsoleVisit, form: FormState, status: int = 200, *, selected: Collection[str] = ()
) -> Response:
    visit.move_to(ALERTS_PATH)
    filters = _read_filters(visit)
    sort = "-severity" if filters.get("state") == "firing" else "-id"
    cursor = visit.query.get("cursor")
    problem = None
    try:
        query = build_period(filters, ZoneInfo(visit.zone))
        page = await visit.api.get("/v1/alerts", **query, sort=sort, cursor=cursor, limit=_PAGE_ROWS)
    except ApiProblemError as error:
        # A filter that the API refuses: the page shows why, and the filters as they were given.
        page, problem, status = {"data": [], "next": None}, error, error.status
    sites = await list_sites(visit)
    metrics = await visit.api.get_unless_refused("/v1/metrics")
    following = page["next"]
    # Among the alerts of one incident, a row for all of them would say nothing.
    apart = "incident" in filters
    groups = [AlertGroup("", [each]) for each in page["data"]] if apart else group_alerts(page["data"])
    return render_console_page(
        visit,
        "alerts/alerts.html",
        title=visit.t("Alerts"),
        section="alerts",
        status=status,
        groups=groups,
        ticked={row.ids for row in groups if any(each["id"] in selected for each in row.alerts)},
        filters=filters,
        more_filters=any(filters.get(name) for name in _FILTERS if name not in _MAIN_FILTERS),
        days={name: filters.get(name, "") for name in ("from", "to")},
        problem=problem,
        silence_ends=[each for each in SILENCE_ENDS.items() if each[0] != "until"],
        sites=sites,
        zones={site["id"]: site["timezone"] for site in sites},
        metrics=metrics["data"] if metrics else [],
        following=build_next_address(following, filters),
        form=form,
    )


@router.post("/bulk")
async def change_alerts(visit: Visit) -> Response:
    """Acknowledge, assign, silence or comment on the selected alerts."""
    fields = await read_console_form(visit)
    action, selected = fields.one("action"), _read_selected(fields)
    try:
        outcome = await visit.api.post(
            "/v1/alerts/bulk", {"ids": selected, "operation": _build_operation(action, fields)}
        )
    except ApiProblemError as error:
        return await _show_list(visit, FormState(fields, error), error.status, selected=selected)
    refused = [each for each in outcome["results"] if each["result"] == "error"]
    if refused:
        detail = visit.texts.n(
            len(refused), "{} alert was refused, the others are done:", "{} alerts were refused:"
        )
        reasons = " ".join(visit.texts.explain(each["detail"]) for each in refused)
        problem = ApiProblemError(
            {"detail": f"{detail} {reasons}", "code": "refused", "language": visit.language}, 422
        )
        # The others are done: only those that were refused stay selected.
        still = [each["id"] for each in refused]
        return await _show_list(visit, FormState(fields, problem), 422, selected=still)
    return redirect_to(visit.request, fields.page, done=_DONE[action])


def _read_selected(fields: FormFields) -> list[str]:
    """Read the ids of the selected rows: a row may stand for several alerts of one sound."""
    return [each for row in fields.many("alert") for each in row.split(",")]


def _build_operation(action: str, fields: FormFields) -> dict[str, object]:
    operation: dict[str, object] = {"type": action}
    comment = fields.optional("comment")
    if comment is not None:
        operation["comment"] = comment
    if action == "assign":
        operation["assignee"] = fields.optional("assignee")
    if action == "silence":
        # A time of the site is for the page of a single alert: the selected ones may be in several zones.
        operation |= build_silence_end(fields.one("end"), "", UTC) or {}
    return operation


@router.get("/silences")
async def list_silences(visit: Visit) -> Response:
    """List silences, by default those that mute now or later."""
    return await _show_silences(visit, FormState())


async def _show_silences(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    visit.move_to(f"{ALERTS_PATH}/silences")
    state = visit.query.get("state", "active")
    cursor = visit.query.get("cursor")
    page = await visit.api.get("/v1/silences", state=state, cursor=cursor, limit=_PAGE_ROWS)
    known = await _read_names(visit, page["data"])
    following = page["next"]
    return render_console_page(
        visit,
        "alerts/silences.html",
        title=visit.t("Silences"),
        section="alerts",
        status=status,
        silences=[
            (
                each,
                silence_subjects.describe_subjects(each, known, visit.texts),
                silence_subjects.find_silence_zone(each, known),
            )
            for each in page["data"]
        ],
        state=state,
        following=build_next_address(following, {"state": state}),
        form=form,
    )


async def _read_names(
    visit: ConsoleVisit, silences: Sequence[Mapping[str, Any]]
) -> silence_subjects.KnownNames:
    """Read the names of what silences mute, and the time zones of their sites."""
    named = {name for each in silences for name, values in each["matchers"].items() if values}
    sites = await list_sites(visit)
    rules = await visit.api.get_unless_refused("/v1/rules", limit=1000) if "rule_ids" in named else None
    box_map = await visit.api.get_unless_refused("/v1/overview/boxes") if "boxes" in named else None
    return silence_subjects.KnownNames(
        sites={site["id"]: site["name"] for site in sites},
        zones={site["id"]: site["timezone"] for site in sites},
        rules={rule["id"]: (rule["name"], rule["site_id"]) for rule in (rules["data"] if rules else ())},
        boxes=silence_subjects.read_box_names(box_map),
    )


@router.post("/silences/{silence_id}/expire")
async def end_silence(visit: Visit, silence_id: str) -> Response:
    """End a silence now."""
    fields = await read_console_form(visit)
    try:
        await visit.api.post(f"/v1/silences/{silence_id}/expire")
    except ApiProblemError as error:
        return await _show_silences(visit, FormState(fields, error), error.status)
    return redirect_to(visit.request, fields.page, done="silence_ended")
