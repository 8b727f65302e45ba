"""Serves the page of an alert: why it fires, its history, its deliveries, and what people do about it."""

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.alerts.alert_chart import draw_alert_chart
from app.console.alerts.alert_texts import (
    TIMELINE_TEXTS,
    UNDRAWN_TEXTS,
    choose_timeline_text,
    describe_recognised,
    describe_resolution,
    find_alert_kind,
)
from app.console.alerts.alerts_router import ALERTS_PATH
from app.console.alerts.silence_choices import SILENCE_ENDS, build_silence_end
from app.console.alerts.silence_subjects import select_silences
from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.recipients import read_recipients
from app.presentation.local_formatter import LocalFormatter

router: Final = APIRouter(prefix=ALERTS_PATH, include_in_schema=False, route_class=ConsoleRoute)
# An organisation can have 500 pending or active ones.
_SILENCES: Final = 500
_DONE: Final[Mapping[str, str]] = {
    "acknowledge": "acknowledged",
    "unacknowledge": "unacknowledged",
    "assign": "assigned",
    "comment": "commented",
    "silence": "silenced",
    "escalate": "escalated",
}


@router.get("/{alert_id}")
async def show_alert(visit: Visit, alert_id: str) -> Response:
    """Show why an alert fires."""
    return await _show(visit, alert_id, FormState())


async def _show(visit: ConsoleVisit, alert_id: str, form: FormState, status: int = 200) -> Response:
    explanation = await visit.api.get(f"/v1/alerts/{alert_id}/explanation")
    alert = explanation["alert"]
    zone = await _find_zone(visit, alert)
    similar = await visit.api.get_unless_refused(f"/v1/alerts/{alert_id}/similar", limit=6)
    deliveries = explanation["deliveries"]
    samples = explanation["samples"]
    formats = LocalFormatter(visit.language, ZoneInfo(zone))
    language_suffix = "_fr" if visit.language == "fr" else ""
    return render_console_page(
        visit,
        "alerts/alert.html",
        title=alert[f"sentence{language_suffix}"],
        section="alerts",
        status=status,
        zone=zone,
        form=form,
        alert=alert,
        sentence=alert[f"sentence{language_suffix}"],
        rule=explanation["rule"],
        rule_sentence=explanation["rule"][f"sentence{language_suffix}"],
        chart=None if samples is None else draw_alert_chart(alert, samples, formats),
        samples=samples,
        # The newest first: what happened last matters most.
        timeline=[(entry, *choose_timeline_text(entry)) for entry in reversed(explanation["timeline"])],
        timeline_texts=TIMELINE_TEXTS,
        resolution=describe_resolution(alert, explanation["rule"]["condition"], visit.texts, visit.language),
        undrawn=_explain_missing_chart(visit, alert),
        deliveries=deliveries,
        endpoints=(await read_recipients(visit) or {}) if deliveries else {},
        words=delivery_words,
        similar=similar,
        incident=await _read_incident(visit, alert),
        recognised=describe_recognised(alert, visit.language),
        silences=await _find_silences(visit, alert),
        people=await _list_people(visit),
        silence_ends=SILENCE_ENDS,
    )


def _explain_missing_chart(visit: ConsoleVisit, alert: Mapping[str, Any]) -> str:
    """Say why the page has no chart."""
    kind = find_alert_kind(alert)
    if kind == "measurement" and not visit.can("telemetry:read"):
        return visit.t("Your role may not read measurements.")
    return visit.t(UNDRAWN_TEXTS[kind])


async def _find_zone(visit: ConsoleVisit, alert: Mapping[str, Any]) -> str:
    """Return the time zone of the alert's site; that of the visit for a caller who may not read the site."""
    site = await visit.api.get_unless_refused(f"/v1/sites/{alert['site_id']}")
    return visit.zone if site is None else str(site["timezone"])


async def _read_incident(visit: ConsoleVisit, alert: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Read the incident that the sound of an alert belongs to."""
    if alert["incident_id"] is None:
        return None
    incident: Mapping[str, Any] | None = await visit.api.get_unless_refused(
        f"/v1/incidents/{alert['incident_id']}"
    )
    return incident


async def _find_silences(visit: ConsoleVisit, alert: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Find the silences that mute a firing alert; none for a caller who may not read silences."""
    if alert["state"] != "firing":
        return []
    page = await visit.api.get_unless_refused("/v1/silences", state="active", limit=_SILENCES)
    return select_silences(alert, page["data"]) if page else []


async def _list_people(visit: ConsoleVisit) -> list[str]:
    """Return the names of members to assign an alert to; for a caller who may not list them: none."""
    if not (visit.can("members:read") and visit.can("alerts:write")):
        return []
    page = await visit.api.get_unless_refused("/v1/members", limit=200)
    return [each["name"] for each in page["data"]] if page else []


@router.post("/{alert_id}/{action}")
async def act_on_alert(visit: Visit, alert_id: str, action: str) -> Response:
    """Acknowledge, assign, comment or silence an alert, or withdraw its acknowledgement."""
    fields = await read_console_form(visit)
    try:
        await _act(visit, alert_id, action, fields)
    except ApiProblemError as error:
        return await _show(visit, alert_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{ALERTS_PATH}/{alert_id}", done=_DONE[action])


async def _act(visit: ConsoleVisit, alert_id: str, action: str, fields: FormFields) -> None:
    path = f"/v1/alerts/{alert_id}"
    comment = fields.optional("comment")
    noted: dict[str, Any] = {} if comment is None else {"comment": comment}
    match action:
        case "acknowledge" | "unacknowledge":
            await visit.api.post(f"{path}/{action}", noted)
        case "assign":
            assignee = visit.me["name"] if fields.has("myself") else fields.optional("assignee")
            await visit.api.post(f"{path}/assign", {"assignee": assignee, **noted})
        case "comment":
            await visit.api.post(f"{path}/comments", {"comment": fields.one("comment")})
        case "escalate":
            await visit.api.post(f"{path}/escalate", {"severity": fields.one("severity"), **noted})
        case "silence":
            zone = await _find_zone(visit, await visit.api.get(path))
            end = build_silence_end(fields.one("end"), fields.one("until"), ZoneInfo(zone))
            if end is None:
                detail = visit.t("Say until when: a date and a time.")
                raise ApiProblemError(
                    {
                        "detail": detail,
                        "code": "invalid_until",
                        "errors": [{"field": "until", "code": "invalid_until", "detail": detail}],
                    },
                    422,
                )
            body = {"alert_id": alert_id, **end, "author": visit.me["name"], **noted}
            await visit.api.post("/v1/silences", body)
        case _:
            raise ApiProblemError({"detail": "There is no such action.", "code": "not_found"}, 404)
