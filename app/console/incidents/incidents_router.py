"""Serves the pages of incidents: the list with its map, one incident, and its review by a person."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError, build_next_address
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.site_choices import list_sites
from app.console.incidents import incident_consequences, incident_views
from app.console.incidents.incident_views import SourceLabels
from app.pages.page_layout import read_root_path
from app.platform.identity.session_cookie import CONSOLE_PATH

INCIDENTS_PATH: Final = f"{CONSOLE_PATH}/incidents"
router: Final = APIRouter(prefix=INCIDENTS_PATH, include_in_schema=False, route_class=ConsoleRoute)
_FILTERS: Final = ("state", "site", "period", "min_probability", "evidence")
_PAGE_ROWS: Final = 50
_BOXES: Final = 1_000
_DONE: Final = {"confirm": "incident_confirmed", "dismiss": "incident_dismissed"}


@router.get("")
async def list_incidents(visit: Visit) -> Response:
    """List incidents beside their map. The filters are in the address."""
    parameters = visit.query
    filters = {name: parameters[name] for name in _FILTERS if parameters.get(name)}
    if "state" not in parameters:
        filters["state"] = "open"
    query = {name: value for name, value in filters.items() if name != "period"}
    start = incident_views.compute_period_start(filters.get("period", ""), datetime.now(UTC))
    cursor = parameters.get("cursor")
    page = await visit.api.get(
        "/v1/incidents", **{**query, "from": start}, sort="-occurred_at", cursor=cursor, limit=_PAGE_ROWS
    )
    labels = await _read_labels(visit)
    known = {site["id"]: site for site in await list_sites(visit)}
    names = {each["id"]: _describe(visit, each, labels, known) for each in page["data"]}
    following = page["next"]
    return render_console_page(
        visit,
        "incidents/incidents.html",
        title=visit.t("Incidents"),
        section="incidents",
        incidents=page["data"],
        names=names,
        sites=known,
        filters=filters,
        marks=incident_views.build_list_map(page["data"], names, read_root_path(visit.request)),
        places=incident_views.build_map_places(page["data"], known),
        states=incident_views.STATES,
        evidence=incident_views.EVIDENCE,
        following=build_next_address(following, filters),
    )


async def _read_labels(visit: ConsoleVisit) -> SourceLabels:
    sources = await visit.api.get("/v1/acoustic-sources", limit=1000)
    return SourceLabels.of(sources["data"], visit.language)


def _describe(
    visit: ConsoleVisit,
    incident: Mapping[str, Any],
    labels: SourceLabels,
    sites: Mapping[str, Mapping[str, Any]],
) -> str:
    """Name an incident by its likeliest source and its site."""
    site = sites.get(incident["site_id"])
    likeliest = incident["classes"][0]["class"] if incident["classes"] else ""
    source = labels.name(likeliest) if likeliest else visit.t("Impulsive sound")
    if incident["state"] != "open" and incident["outcome"]:
        source = _name_outcome(visit, incident["outcome"], labels)
    return source if site is None else visit.t("{source} at {site}", source=source, site=site["name"])


def _name_outcome(visit: ConsoleVisit, outcome: str, labels: SourceLabels) -> str:
    known = incident_views.OUTCOMES.get(outcome)
    return labels.name(outcome) if known is None else visit.t(known)


@router.get("/{incident_id}")
async def show_incident(visit: Visit, incident_id: str) -> Response:
    """Show an incident: its position, what each box heard, candidates, history and review."""
    return await _show(visit, incident_id)


async def _show(
    visit: ConsoleVisit,
    incident_id: str,
    *,
    form: FormState | None = None,
    choice: str = "",
    status: int = 200,
) -> Response:
    incident = await visit.api.get(f"/v1/incidents/{incident_id}")
    labels = await _read_labels(visit)
    site = await visit.api.get_unless_refused(f"/v1/sites/{incident['site_id']}")
    zone = visit.zone if site is None else site["timezone"]
    formatter = visit.formatter(zone)
    month = datetime.now(ZoneInfo(zone)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    statistics = await visit.api.get_unless_refused(
        f"/v1/sites/{incident['site_id']}/incident-statistics",
        **{"from": month.isoformat(), "to": datetime.now(UTC).isoformat()},
    )
    names = await _read_box_names(visit, incident["site_id"])
    known = {} if site is None else {site["id"]: site}
    return render_console_page(
        visit,
        "incidents/incident.html",
        title=_describe(visit, incident, labels, known),
        section="incidents",
        status=status,
        zone=zone,
        incident=incident,
        site=site,
        labels=labels,
        alerts=await incident_consequences.read_alerts(visit, incident),
        notice=await incident_consequences.read_notice(visit, incident),
        words=delivery_words,
        arrivals=incident_views.list_arrivals(incident["events"], formatter),
        box_names=names,
        drawn=incident_views.build_incident_map(incident, formatter, names),
        confirming=_list_confirming(visit, incident, labels),
        dismissing=_list_dismissing(visit, labels),
        name_outcome=lambda outcome: _name_outcome(visit, outcome, labels),
        statistics=statistics,
        month=formatter.month(month.date()),
        views=incident_views,
        form=form or FormState(),
        blank=FormState(),
        choice=choice,
    )


async def _read_box_names(visit: ConsoleVisit, site_id: str) -> dict[str, str]:
    """Read the names of a site's boxes by id, of those that have one."""
    page = await visit.api.get_unless_refused("/v1/boxes", site=site_id, limit=_BOXES)
    return {each["id"]: each["name"] for each in page["data"] if each["name"]} if page else {}


def _list_confirming(
    visit: ConsoleVisit, incident: Mapping[str, Any], labels: SourceLabels
) -> Sequence[tuple[str, str]]:
    """List the outcomes that confirm, the candidates of the incident first."""
    candidates = [each["class"] for each in incident["classes"] if each["class"] in labels.firearm_classes]
    candidates += [each["model"] for each in incident["models"]]
    general = [(name, visit.t(incident_views.OUTCOMES[name])) for name in ("gunshot", "explosion")]
    ordered = dict.fromkeys([*candidates, *labels.firearm_classes])
    return [*general, *((name, labels.name(name)) for name in ordered)]


def _list_dismissing(visit: ConsoleVisit, labels: SourceLabels) -> Sequence[tuple[str, str]]:
    """List the outcomes that dismiss."""
    general = [(name, visit.t(incident_views.OUTCOMES[name])) for name in ("not_gunshot", "undetermined")]
    return [*general, *((name, labels.name(name)) for name in labels.look_alikes)]


@router.post("/{incident_id}/confirm")
async def confirm_incident(visit: Visit, incident_id: str) -> Response:
    """Confirm that the incident happened."""
    return await _review(visit, incident_id, "confirm")


@router.post("/{incident_id}/dismiss")
async def dismiss_incident(visit: Visit, incident_id: str) -> Response:
    """Dismiss the incident as a false alarm, with its real source."""
    return await _review(visit, incident_id, "dismiss")


async def _review(visit: ConsoleVisit, incident_id: str, choice: str) -> Response:
    fields = await read_console_form(visit)
    # The version that the person saw: a change since then is refused, and shown.
    body = {
        "outcome": fields.one("outcome"),
        "note": fields.optional("note"),
        "sequence": fields.number("sequence"),
    }
    try:
        await visit.api.post(f"/v1/incidents/{incident_id}/{choice}", body)
    except ApiProblemError as error:
        if error.status in {403, 404}:
            raise
        form = FormState(fields, error)
        return await _show(visit, incident_id, form=form, choice=choice, status=error.status)
    return redirect_to(visit.request, f"{INCIDENTS_PATH}/{incident_id}", done=_DONE[choice])
