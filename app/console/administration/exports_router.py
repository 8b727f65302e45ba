"""Serves the forms of exports and reports, and streams their files."""

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Response

from app.console.administration.administration_pages import (
    ADMINISTRATION_PATH,
    render_administration,
)
from app.console.administration.local_inputs import parse_local_time
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.api_streams import stream_file
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState
from app.console.framework.metric_names import name_metric
from app.console.framework.site_choices import list_sites
from app.platform.kernel.errors import NotFoundError

router: Final = APIRouter(prefix=ADMINISTRATION_PATH, include_in_schema=False, route_class=ConsoleRoute)
_LENGTHS: Final = frozenset({"day", "month"})


def _read_query(visit: ConsoleVisit) -> FormFields:
    """Read the fields of a form that is sent by GET."""
    given = visit.query
    return FormFields({name: given.getlist(name) for name in given})


@router.get("/exports")
async def show_exports(visit: Visit) -> Response:
    """Show the form of an export."""
    return await _show_exports(visit, FormState(_read_query(visit)))


async def _show_exports(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    sites = await list_sites(visit)
    metrics = await visit.api.get("/v1/metrics")
    return render_administration(
        visit,
        "administration/exports.html",
        title=visit.t("Export measurements"),
        part="exports",
        status=status,
        sites=sites,
        zones=sorted({site["timezone"] for site in sites} | {"UTC"}, key=lambda zone: (zone == "UTC", zone)),
        metrics=[(each["name"], name_metric(each["name"], visit.language)) for each in metrics["data"]],
        form=form,
    )


@router.get("/exports/file")
async def download_export(visit: Visit) -> Response:
    """Download measurements; a refused export shows the form again."""
    fields = _read_query(visit)
    zone = fields.one("zone", "UTC")
    query: dict[str, Any] = {
        "format": fields.optional("format"),
        "site": fields.many("site"),
        "box": fields.one("box").replace(",", " ").split(),
        "metric": fields.many("metric"),
        "bucket": fields.optional("bucket"),
        "aggregates": ",".join(fields.many("aggregates")) if fields.one("bucket") else None,
        **{name: parse_local_time(fields.one(name), zone) for name in ("from", "to")},
    }
    try:
        return await stream_file(visit.api, "/v1/readings/export", query)
    except ApiProblemError as error:
        return await _show_exports(visit, FormState(fields, error), error.status)


@router.get("/reports")
async def show_reports(visit: Visit) -> Response:
    """Show the form of a report."""
    return await _show_reports(visit, FormState(_read_query(visit)))


async def _show_reports(visit: ConsoleVisit, form: FormState, status: int = 200) -> Response:
    sites = await list_sites(visit)
    zone = ZoneInfo(sites[0]["timezone"]) if sites else ZoneInfo("UTC")
    today = datetime.now(zone).date()
    return render_administration(
        visit,
        "administration/reports.html",
        title=visit.t("Reports"),
        part="reports",
        status=status,
        sites=sites,
        mails_reports=visit.can("webhooks:read"),
        yesterday=(today - timedelta(days=1)).isoformat(),
        last_month=(today.replace(day=1) - timedelta(days=1)).isoformat()[:7],
        form=form,
    )


@router.get("/reports/{length}/file")
async def download_report(visit: Visit, length: str) -> Response:
    """Show or download a report; a refused one shows the form again."""
    if length not in _LENGTHS:
        raise NotFoundError("report", length)
    fields = _read_query(visit)
    name = "date" if length == "day" else "month"
    query = {
        name: fields.optional(name),
        "format": fields.optional("format"),
        "language": fields.optional("language"),
    }
    try:
        return await stream_file(visit.api, f"/v1/sites/{fields.one('site')}/reports/{length}", query)
    except ApiProblemError as error:
        return await _show_reports(visit, FormState(fields, error), error.status)
