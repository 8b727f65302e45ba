"""Serves the pages of rule presets: the list, and a preset with its application to a site."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Response

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.site_choices import list_sites
from app.console.rules.rules_router import RULES_PATH
from app.presentation.languages import Language
from app.presentation.typography import typeset_text

_TEXTS: Final = ("title", "description", "advice")
# Must be included before the router of rules, which would take `presets` for a rule id.
router: Final = APIRouter(prefix=f"{RULES_PATH}/presets", include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def list_presets(visit: Visit) -> Response:
    """List presets, with filters by text, metric and kind of site."""
    parameters = visit.query
    filters = {name: parameters[name] for name in ("q", "metric", "kind", "site") if parameters.get(name)}
    asked = {name: filters.get(name) for name in ("metric", "kind")}
    presets = await visit.api.get("/v1/rule-presets", language=visit.language, **asked)
    metrics = await visit.api.get("/v1/metrics")
    text = filters.get("q", "").casefold()
    found = [each for each in presets["data"] if text in f"{each['title']} {each['description']}".casefold()]
    return render_console_page(
        visit,
        "rules/rule_presets.html",
        title=visit.t("Presets"),
        section="rules",
        presets=[_typeset(each, visit.language) for each in found],
        day=lambda text: visit.formatter().day(date.fromisoformat(text)),
        filters=filters,
        metrics=metrics["data"],
    )


def _typeset(preset: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """Return a preset whose texts have the spaces of their language."""
    return {**preset, **{name: typeset_text(preset[name], language) for name in _TEXTS}}


@router.get("/{preset_id}")
async def show_preset(visit: Visit, preset_id: str) -> Response:
    """Show a preset, and the form that applies it."""
    return await _show(visit, preset_id, FormState())


async def _show(visit: ConsoleVisit, preset_id: str, form: FormState, status: int = 200) -> Response:
    preset = await visit.api.get(f"/v1/rule-presets/{quote(preset_id, safe='')}", language=visit.language)
    problem = form.problem.problem if form.problem else {}
    return render_console_page(
        visit,
        "rules/rule_preset.html",
        title=typeset_text(preset["title"], visit.language),
        section="rules",
        status=status,
        preset=_typeset(preset, visit.language),
        sites=await list_sites(visit),
        site=visit.query.get("site", ""),
        applied=problem.get("rules") or [],
        form=form,
    )


@router.post("/{preset_id}")
async def apply_preset(visit: Visit, preset_id: str) -> Response:
    """Create the rules of a preset at a site."""
    fields = await read_console_form(visit)
    try:
        made = await visit.api.post(
            f"/v1/rule-presets/{quote(preset_id, safe='')}/apply?language={visit.language}",
            _build_body(fields),
        )
    except ApiProblemError as error:
        return await _show(visit, preset_id, FormState(fields, error), error.status)
    rules = made["rules"]
    page = f"{RULES_PATH}/{rules[0]['id']}" if len(rules) == 1 else f"{RULES_PATH}?preset={quote(preset_id)}"
    return redirect_to(visit.request, page, done="created")


def _build_body(fields: FormFields) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if name := fields.optional("name"):
        overrides["name"] = name
    if tags := [tag.strip() for tag in fields.one("tags").split(",") if tag.strip()]:
        overrides["scope"] = {"tags": tags}
    if fields.has("dry_run"):
        overrides["dry_run"] = True
    body: dict[str, Any] = {"site_id": fields.one("site"), "overrides": overrides}
    return body | ({"again": True} if fields.has("again") else {})
