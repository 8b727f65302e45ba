"""Serves the list of rules, the page of a rule, and the actions on it."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Response

from app.console.framework import delivery_words
from app.console.framework.api_calls import ApiProblemError, build_next_address, encode_query
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.metric_names import label_metric
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.recipients import read_recipients
from app.console.framework.site_choices import list_site_options, list_sites
from app.console.rules.rule_backtests import RANGES, read_backtest, start_backtest
from app.console.rules.rule_differences import list_differences
from app.console.rules.rule_normal_form import body_of
from app.console.rules.rule_recipients import choose_recipients
from app.platform.identity.session_cookie import CONSOLE_PATH
from app.platform.kernel.ids import parse_id
from app.platform.kernel.instants import parse_iso_duration

RULES_PATH: Final = f"{CONSOLE_PATH}/rules"
router: Final = APIRouter(prefix=RULES_PATH, include_in_schema=False, route_class=ConsoleRoute)
_PAGE_ROWS: Final = 50
_FIRING_ROWS: Final = 1_000
_RECENT: Final = timedelta(days=30)
_RECENT_ROWS: Final = 200
_VERSIONS: Final = 20
_STATES: Final[Mapping[str, Mapping[str, str]]] = {
    "live": {"enabled": "true", "dry_run": "false"},
    "dry_run": {"enabled": "true", "dry_run": "true"},
    "off": {"enabled": "false"},
}


@router.get("")
async def list_rules(visit: Visit) -> Response:
    """List rules. The filters are in the address, which can be shared."""
    parameters = visit.query
    names = ("q", "site", "severity", "state", "metric", "preset")
    filters = {name: parameters[name] for name in names if parameters.get(name)}
    asked = {name: value for name, value in filters.items() if name != "state"}
    page = await visit.api.get(
        "/v1/rules",
        **asked,
        **_STATES.get(filters.get("state", ""), {}),
        sort="name",
        limit=_PAGE_ROWS,
        cursor=parameters.get("cursor"),
    )
    sites = await list_sites(visit)
    metrics = await visit.api.get("/v1/metrics")
    following = page["next"]
    return render_console_page(
        visit,
        "rules/rules.html",
        title=visit.t("Rules"),
        section="rules",
        rules=page["data"],
        filters=filters,
        sites=sites,
        site_names=dict(list_site_options(sites)),
        metrics=metrics["data"],
        label_metric=label_metric,
        firing=await _count_firing(visit),
        following=build_next_address(following, filters),
    )


async def _count_firing(visit: ConsoleVisit) -> Counter[str] | None:
    """Count the firing alerts of each rule; None if they are too many to count on a page."""
    pages = [
        await visit.api.get_unless_refused("/v1/alerts", state="firing", dry_run=trial, limit=_FIRING_ROWS)
        for trial in (False, True)
    ]
    if any(page is None or page["next"] for page in pages):
        return None
    return Counter(alert["rule_id"] for page in pages for alert in page["data"])


def build_rule_url(rule_id: str) -> str:
    """Return the path of a rule in the API (NotFoundError for what is no id)."""
    return f"/v1/rules/{parse_id(rule_id, 'rule')}"


@router.get("/{rule_id}")
async def show_rule(visit: Visit, rule_id: str) -> Response:
    """Show a rule: when it fires, its alerts, its back-test and its versions."""
    return await _show(visit, rule_id, FormState())


async def _show(visit: ConsoleVisit, rule_id: str, form: FormState, status: int = 200) -> Response:
    rule = await visit.api.get(build_rule_url(rule_id))
    site = await visit.api.get_unless_refused(f"/v1/sites/{rule['site_id']}")
    zone = site["timezone"] if site else "UTC"
    versions = await visit.api.get(
        f"{build_rule_url(rule_id)}/versions",
        limit=_VERSIONS + 1,
        cursor=visit.query.get("cursor"),
    )
    since = (datetime.now(UTC) - _RECENT).replace(minute=0, second=0, microsecond=0)
    chosen = {"rule": rule_id, "dry_run": rule["dry_run"], "sort": "-id"}
    firing = await visit.api.get_unless_refused("/v1/alerts", **chosen, state="firing", limit=20)
    recent = await visit.api.get_unless_refused(
        "/v1/alerts", **chosen, limit=_RECENT_ROWS, **{"from": since.isoformat()}
    )
    backtest = await read_backtest(visit, visit.query.get("backtest", ""), zone)
    endpoints = await read_recipients(visit)
    return render_console_page(
        visit,
        "rules/rule.html",
        title=rule["name"],
        section="rules",
        status=status,
        zone=zone,
        rule=rule,
        body=body_of(rule),
        spell=lambda duration: visit.formatter().duration(parse_iso_duration(duration)),
        site=site,
        versions=_describe_versions(versions["data"], visit),
        older=f"?{encode_query({'cursor': versions['next']})}#versions" if versions["next"] else "",
        firing=firing["data"] if firing else None,
        recent=recent,
        recent_since=since.isoformat(),
        backtest=backtest,
        recipients=None if endpoints is None else choose_recipients(endpoints.values(), rule),
        words=delivery_words,
        ranges=RANGES,
        form=form,
    )


def _describe_versions(versions: list[dict[str, Any]], visit: ConsoleVisit) -> list[dict[str, Any]]:
    """Add to each version what it changed. The last one read only serves the one after it."""
    described = []
    for index, version in enumerate(versions[:_VERSIONS]):
        earlier = versions[index + 1] if index + 1 < len(versions) else None
        changes = None if earlier is None else list_differences(earlier, version, visit.texts)
        described.append({**version, "changes": changes})
    return described


@router.post("/{rule_id}/try")
async def try_rule(visit: Visit, rule_id: str) -> Response:
    """Try the rule, or an earlier version of it, on stored samples."""
    fields = await read_console_form(visit)
    version = fields.optional("version")
    tried: dict[str, Any] = {"rule_id": str(parse_id(rule_id, "rule"))}
    if version and version.isdecimal():
        tried["version"] = int(version)
    try:
        started = await start_backtest(visit, tried, fields)
    except ApiProblemError as error:
        return await _show(visit, rule_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{RULES_PATH}/{rule_id}?backtest={started['id']}#backtest")


@router.post("/{rule_id}/state")
async def change_state(visit: Visit, rule_id: str) -> Response:
    """Start or end a dry run, or enable or disable the rule."""
    fields = await read_console_form(visit)
    path = build_rule_url(rule_id)
    match fields.one("to"):
        case "dry_run":
            await visit.api.post(f"{path}/dry-run")
        case "live":
            await visit.api.post(f"{path}/go-live")
        case wanted:
            try:
                await visit.api.patch(path, {"enabled": wanted == "on"})
            except ApiProblemError as error:
                return await _show(visit, rule_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{RULES_PATH}/{rule_id}", done="saved")


@router.post("/{rule_id}/delete")
async def delete_rule(visit: Visit, rule_id: str) -> Response:
    """Delete the rule. Its alerts stay readable."""
    await read_console_form(visit)
    await visit.api.delete(build_rule_url(rule_id))
    return redirect_to(visit.request, RULES_PATH, done="deleted")


@router.post("/{rule_id}/versions/{version}/restore")
async def restore_version(visit: Visit, rule_id: str, version: str) -> Response:
    """Restore an earlier version, as a new one."""
    fields = await read_console_form(visit)
    try:
        await visit.api.post(f"{build_rule_url(rule_id)}/versions/{quote(version, safe='')}/restore")
    except ApiProblemError as error:
        return await _show(visit, rule_id, FormState(fields, error), error.status)
    return redirect_to(visit.request, f"{RULES_PATH}/{rule_id}", done="restored")
