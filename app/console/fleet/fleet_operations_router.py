"""Serves the pages of operations on many boxes: settings, preview, result."""

import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Response

from app.console.fleet.credentials_table import write_credentials
from app.console.fleet.fleet_filters import build_selection, read_box_filters
from app.console.fleet.fleet_router import FLEET_PATH, SECTION
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, FormState, read_console_form
from app.console.framework.page_rendering import redirect_to, render_console_page
from app.console.framework.page_translation import mark_text
from app.console.framework.shown_once import post_once
from app.console.framework.site_choices import list_site_options, list_sites
from app.platform.kernel.errors import InvalidError

OPERATIONS_PATH: Final = f"{FLEET_PATH}/operation"
router: Final = APIRouter(prefix=OPERATIONS_PATH, include_in_schema=False, route_class=ConsoleRoute)
_TITLES: Final = {
    "move": mark_text("Move boxes to another site"),
    "label": mark_text("Change kind and tags of boxes"),
    "configure": mark_text("Configure boxes"),
    "rotate_credentials": mark_text("Give boxes new passwords"),
    "revoke_credentials": mark_text("Revoke the credentials of boxes"),
    "delete": mark_text("Delete boxes"),
}
_WITH_SETTINGS: Final = frozenset({"move", "label", "configure"})
_CALL: Final = "/v1/boxes/bulk/operations"
_SHOWN: Final = 200


@router.post("")
async def start_operation(visit: Visit) -> Response:
    """Show the settings of an operation, or its preview if it has none."""
    fields = await read_console_form(visit)
    kind = _read_kind(fields)
    selection = _read_selection(fields)
    if kind in _WITH_SETTINGS:
        return await _show_settings(visit, kind, selection, FormState(fields))
    return await _show_preview(visit, fields)


@router.post("/preview")
async def preview_operation(visit: Visit) -> Response:
    """Show what an operation would change."""
    return await _show_preview(visit, await read_console_form(visit))


@router.post("/apply")
async def apply_operation(visit: Visit) -> Response:
    """Execute what the preview showed."""
    fields = await read_console_form(visit)
    kind = _read_kind(fields)
    body = {**_read_selection(fields), "operation": _read_operation(kind, fields)}
    body["preview"] = fields.one("preview")
    try:
        done = await post_once(visit, _CALL, body, fields)
    except ApiProblemError as error:
        if error.code == "selection_changed":
            # Shows the boxes as they are now, with the reason.
            return await _show_preview(visit, fields, error)
        raise
    if kind != "rotate_credentials" and not done["failed"]:
        return redirect_to(visit.request, FLEET_PATH, done="boxes_changed")
    changed = [each for each in done["results"] if each["credentials"]]
    return render_console_page(
        visit,
        "fleet/fleet_operation_done.html",
        title=visit.t(_TITLES[kind]),
        section=SECTION,
        outcome=done,
        failures=[each for each in done["results"] if each["result"] == "error"][:_SHOWN],
        credentials=write_credentials(each["credentials"] for each in changed),
    )


def _read_kind(fields: FormFields) -> str:
    kind = fields.one("operation")
    if kind not in _TITLES:
        raise InvalidError("Choose an operation.", code="missing_field")
    return kind


def _read_selection(fields: FormFields) -> dict[str, Any]:
    """Read the selected boxes: those of the filters (`all`), or a list."""
    if fields.has("all"):
        filters = read_box_filters({name: values[-1] for name, values in fields.values.items()})
        try:
            selection = build_selection(filters)
        except ValueError:
            selection = None
        if selection is None:
            raise InvalidError(
                "These filters cannot select boxes for an operation. Select the boxes one by one.",
                code="invalid_filter",
            )
        return {"select": selection}
    return {"ids": fields.many("box")}


def _read_operation(kind: str, fields: FormFields) -> dict[str, Any]:
    """Read the operation from its settings.

    Raises:
        ApiProblemError: `invalid_json`: the configuration is no JSON.
    """
    if kind == "move":
        return {"type": kind, "site_id": fields.one("site_id")}
    if kind == "label":
        label: dict[str, Any] = {"type": kind}
        tags = {name: fields.one(f"tags_{name}").replace(",", " ").split() for name in ("add", "remove")}
        if any(tags.values()):
            label["tags"] = tags
        if fields.has("remove_kind"):
            label["kind"] = None
        elif fields.one("new_kind"):
            label["kind"] = fields.one("new_kind")
        return label
    if kind == "configure":
        return {"type": kind, "config": None if fields.has("remove_config") else _read_config(fields)}
    return {"type": kind}


def _read_config(fields: FormFields) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(fields.one("config"))
    except ValueError as error:
        detail = f"This is not JSON: {error}."
        fault = {"field": "operation.configure.config", "code": "invalid_json", "detail": detail}
        problem = {"detail": detail, "code": "invalid_json", "errors": [fault]}
        raise ApiProblemError(problem, 422) from None


async def _show_settings(
    visit: ConsoleVisit, kind: str, selection: Mapping[str, Any], form: FormState, status: int = 200
) -> Response:
    return render_console_page(
        visit,
        "fleet/fleet_operation.html",
        title=visit.t(_TITLES[kind]),
        section=SECTION,
        status=status,
        kind=kind,
        ids=selection.get("ids"),
        filters=_carry_filters(form.fields),
        site_options=list_site_options(await list_sites(visit)) if kind == "move" else [],
        form=form,
    )


async def _show_preview(
    visit: ConsoleVisit, fields: FormFields, changed: ApiProblemError | None = None
) -> Response:
    kind = _read_kind(fields)
    selection = _read_selection(fields)
    try:
        body = {**selection, "operation": _read_operation(kind, fields), "dry_run": True}
        preview = await visit.api.post(_CALL, body)
    except ApiProblemError as error:
        if kind not in _WITH_SETTINGS:
            raise
        return await _show_settings(visit, kind, selection, FormState(fields, error), error.status)
    sites = {site["id"]: site["name"] for site in await list_sites(visit)} if kind == "move" else {}
    return render_console_page(
        visit,
        "fleet/fleet_operation_preview.html",
        title=visit.t(_TITLES[kind]),
        section=SECTION,
        status=200 if changed is None else changed.status,
        kind=kind,
        preview=preview,
        results=sorted(preview["results"], key=lambda each: each["result"] != "error")[:_SHOWN],
        site_names=sites,
        ids=selection.get("ids"),
        carried=_carry_settings(fields),
        form=FormState(problem=changed),
    )


def _carry_filters(fields: FormFields) -> list[tuple[str, str]]:
    """List the fields that select boxes by filters."""
    if not fields.has("all"):
        return []
    filters = read_box_filters({name: values[-1] for name, values in fields.values.items()})
    return [("all", "yes"), *filters.items()]


def _carry_settings(fields: FormFields) -> list[tuple[str, str]]:
    """List the fields of an operation, for the form that executes it."""
    names = ("site_id", "new_kind", "remove_kind", "tags_add", "tags_remove", "config", "remove_config")
    settings = [(name, fields.one(name)) for name in names if fields.has(name)]
    return [*_carry_filters(fields), *settings]
