"""Serves the builder of rules: a form that reads as a sentence, checked and tried before it is saved."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.guarded_changes import ETAG_FIELD, change_guarded, read_tagged
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.rules.rule_backtests import (
    DEFAULT_DAYS,
    RANGES,
    BacktestView,
    read_backtest,
    start_backtest,
    view_backtest,
)
from app.console.rules.rule_builder_view import build_choices
from app.console.rules.rule_drafts import InvalidRuleJsonError, RuleDraft
from app.console.rules.rule_normal_form import body_of, change_of
from app.console.rules.rule_options import name_fields
from app.console.rules.rules_router import RULES_PATH, build_rule_url
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id

# Must be included before the router of rules, which would take `new` for a rule id.
router: Final = APIRouter(prefix=RULES_PATH, include_in_schema=False, route_class=ConsoleRoute)
_WRITE: Final = "rules:write"
_TRIAL_FIELDS: Final = ("enabled",)
_PRECONDITION_FAILED: Final = 412


@router.get("/new")
async def start_rule(visit: Visit) -> Response:
    """Show the builder: empty, with a preset, or with a copy of a rule."""
    visit.require(_WRITE)
    parameters = visit.query
    given = {name: parameters.get(name, "") for name in ("site", "kind", "metric")}
    if preset := parameters.get("preset"):
        draft = await _draft_of_preset(visit, preset, parameters.get("rule", ""), given["site"])
    elif copied := parameters.get("copy"):
        rule = body_of(await visit.api.get(build_rule_url(copied)))
        rule["name"] = visit.t("Copy of {name}", name=rule["name"])[:200]
        draft = RuleDraft.of_rule(rule, visit.language)
    else:
        draft = RuleDraft.new(**given)
    return await _show(visit, draft)


async def _draft_of_preset(visit: ConsoleVisit, preset_id: str, number: str, site: str) -> RuleDraft:
    presets = await visit.api.get("/v1/rule-presets", language=visit.language)
    preset = next((each for each in presets["data"] if each["id"] == preset_id), None)
    if preset is None:
        raise NotFoundError("preset", preset_id)
    index = int(number) if number.isdecimal() and int(number) < len(preset["rules"]) else 0
    chosen = preset["rules"][index]
    rule = {"name": chosen["name"], "description": preset["advice"], **chosen["rule"]}
    return RuleDraft.of_rule({"site_id": site, **rule}, visit.language)


@router.get("/{rule_id}/edit")
async def edit_rule(visit: Visit, rule_id: str) -> Response:
    """Show the builder with a stored rule."""
    visit.require(_WRITE)
    stored = await read_tagged(visit, build_rule_url(rule_id))
    draft = RuleDraft.of_rule(body_of(stored.data), visit.language)
    return await _show(visit, draft, stored=stored.data, etag=stored.etag)


async def _show(
    visit: ConsoleVisit,
    draft: RuleDraft,
    *,
    stored: Mapping[str, Any] | None = None,
    etag: str = "",
    sentence: str = "",
    backtest: BacktestView | None = None,
    status: int = 200,
) -> Response:
    faults, others = draft.faults(visit.texts.explain)
    return render_console_page(
        visit,
        "rules/rule_builder.html",
        title=visit.t("New rule") if stored is None else visit.t("Edit a rule"),
        section="rules",
        status=status,
        zone=backtest.zone if backtest else "UTC",
        draft=draft,
        form=FormState(draft.fields),
        faults=faults,
        others=others,
        stored=stored,
        etag=etag,
        sentence=sentence,
        backtest=backtest,
        ranges=RANGES,
        default_days=DEFAULT_DAYS,
        choices=await build_choices(visit, draft),
    )


@router.post("/new")
async def create_rule(visit: Visit) -> Response:
    """Create a rule; or check, try or show it otherwise, by the button that was pressed (`do`)."""
    return await _handle(visit, await read_console_form(visit), None)


@router.post("/{rule_id}/edit")
async def save_rule(visit: Visit, rule_id: str) -> Response:
    """Change a rule; the other buttons are those of a new one."""
    fields = await read_console_form(visit)
    return await _handle(visit, fields, await visit.api.get(build_rule_url(rule_id)))


async def _handle(visit: ConsoleVisit, fields: FormFields, stored: Mapping[str, Any] | None) -> Response:
    draft = RuleDraft.of_form(fields)
    shown: dict[str, Any] = {"stored": stored, "etag": fields.one(ETAG_FIELD)}
    try:
        return await _act(visit, draft, stored, shown)
    except InvalidRuleJsonError as error:
        return await _show(visit, replace(draft, problem=error), status=error.status, **shown)
    except ApiProblemError as error:
        if error.status == _PRECONDITION_FAILED and stored is not None:
            # Saved again, it replaces the changes of another person meanwhile: the page says so.
            shown["etag"] = (await read_tagged(visit, build_rule_url(stored["id"]))).etag
        return await _show(visit, replace(draft, problem=error), status=error.status, **shown)


async def _act(
    visit: ConsoleVisit, draft: RuleDraft, stored: Mapping[str, Any] | None, shown: Mapping[str, Any]
) -> Response:
    sentence, backtest = "", None
    match draft.fields.one("do"):
        case "save":
            return await _save(visit, draft, stored)
        case "json":
            draft = draft.to_json()
        case "sentence":
            draft = draft.to_sentence(visit.language)
        case "check":
            sentence = await _check(visit, draft, stored)
        case "try":
            sentence = await _check(visit, draft, stored)
            backtest = await _try(visit, draft)
    return await _show(visit, draft, sentence=sentence, backtest=backtest, **shown)


async def _save(visit: ConsoleVisit, draft: RuleDraft, stored: Mapping[str, Any] | None) -> Response:
    rule = draft.rule()
    if stored is None:
        made = await visit.api.post("/v1/rules", rule)
        return redirect_to(visit.request, f"{RULES_PATH}/{made['id']}", done="created")
    change = change_of(stored, rule)
    if change:
        await change_guarded(visit, "PATCH", build_rule_url(stored["id"]), change, draft.fields)
    return redirect_to(visit.request, f"{RULES_PATH}/{stored['id']}", done="saved")


async def _check(visit: ConsoleVisit, draft: RuleDraft, stored: Mapping[str, Any] | None) -> str:
    """Check a draft, and return it in words."""
    query = "" if stored is None else f"?replaces={stored['id']}"
    # A rule can be read and tried before it has a name. Saving it names the field.
    rule = {"name": visit.t("New rule"), **draft.rule()}
    found = await visit.api.post(f"/v1/rules/check{query}", rule)
    sentence: str = found["sentence_fr" if visit.language == "fr" else "sentence"]
    return sentence


async def _try(visit: ConsoleVisit, draft: RuleDraft) -> BacktestView:
    """Try a draft on stored samples."""
    rule = {name: value for name, value in draft.rule().items() if name not in _TRIAL_FIELDS}
    return await view_backtest(visit, await start_backtest(visit, {"rule": rule}, draft.fields))


@router.post("/check")
async def check_draft(visit: Visit) -> Response:
    """Check what is typed, for the script of the builder: the rule in words, and faults by field."""
    fields = await read_console_form(visit)
    draft = RuleDraft.of_form(fields)
    replaced = fields.one("rule")
    stored = {"id": parse_id(replaced, "rule")} if replaced else None
    try:
        sentence = await _check(visit, draft, stored)
        return JSONResponse({"sentence": sentence, "faults": {}, "others": [], "missing": ""})
    except (ApiProblemError, InvalidRuleJsonError) as error:
        faults, others = replace(draft, problem=error).faults(visit.texts.explain)
        lacking = ", ".join(name_fields(faults, visit.texts))
        missing = visit.t("Still missing: {fields}.", fields=lacking) if lacking else ""
        return JSONResponse({"sentence": "", "faults": faults, "others": others, "missing": missing})


@router.get("/backtests/{backtest_id}")
async def show_backtest(visit: Visit, backtest_id: str) -> Response:
    """Show a back-test: its progress, then its result."""
    found = await read_backtest(visit, backtest_id)
    if found is None:
        raise NotFoundError("back-test", backtest_id)
    return render_console_page(
        visit,
        "rules/rule_backtest.html",
        title=visit.t("Back-test"),
        section="rules",
        zone=found.zone,
        backtest=found,
    )


@router.post("/backtests/{backtest_id}/cancel")
async def cancel_backtest(visit: Visit, backtest_id: str) -> Response:
    """Cancel a back-test that runs."""
    await read_console_form(visit)
    await visit.api.delete(f"/v1/rules/backtests/{parse_id(backtest_id, 'back-test')}")
    return redirect_to(visit.request, f"{RULES_PATH}/backtests/{backtest_id}")
