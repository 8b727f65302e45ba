"""Serves the pages that create many boxes from a table: paste, check, create in parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fastapi import APIRouter, Response

from app.console.fleet.box_import_table import ImportPart, ImportTable, locate_faults, read_import_table
from app.console.fleet.credentials_table import write_credentials, write_table
from app.console.fleet.fleet_router import FLEET_PATH, SECTION
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormFields, read_console_form
from app.console.framework.page_rendering import render_console_page
from app.console.framework.shown_once import FORM_KEY, post_once
from app.console.framework.site_choices import list_sites
from app.registry.box_csv import COLUMNS
from app.registry.spreadsheet_csv_reader import TableError, TableFault, escape_formula

router: Final = APIRouter(prefix=f"{FLEET_PATH}/import", include_in_schema=False, route_class=ConsoleRoute)
_CALL: Final = "/v1/boxes/bulk"
_TYPE: Final = "text/csv; charset=utf-8"
_SHOWN_GOOD: Final = 10
_SHOWN_FAULTY: Final = 100
_EXAMPLE: Final = (
    ("id", "site", "name", "longitude", "latitude", "interval_s", "kind", "tags"),
    ("box-001", "{site}", "North entrance", "1.4437", "43.6044", "60", "facade", "lot:1|spare"),
    ("box-002", "{site}", "South entrance", "1.4441", "43.6039", "60", "facade", "lot:1"),
)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A table with the faults that were found in it.

    Attributes:
        table: The table; None: it cannot be read.
        faults: The faults, by line.
        omitted: The number of further faults.
    """

    table: ImportTable | None
    faults: Sequence[TableFault] = field(default_factory=list)
    omitted: int = 0


@router.get("")
async def show_import(visit: Visit) -> Response:
    """Show the form for a table."""
    visit.require("boxes:write")
    return await _show_form(visit, FormFields(), None)


@router.get("/example.csv")
async def download_example(visit: Visit) -> Response:
    """Download a table with two boxes to fill in."""
    sites = await list_sites(visit)
    name = next((site["name"] for site in sites if escape_formula(site["name"]) == site["name"]), "")
    text = write_table([[cell.format(site=name) for cell in row] for row in _EXAMPLE])
    headers = {"Content-Disposition": 'attachment; filename="boxes.csv"', "Cache-Control": "no-store"}
    return Response(text.encode("utf-8-sig"), media_type=_TYPE, headers=headers)


@router.post("")
async def check_table(visit: Visit) -> Response:
    """Check a table. Nothing is created."""
    fields = await read_console_form(visit)
    checked = await _check(visit, fields)
    return await _show_form(visit, fields, checked, 422 if checked.faults else 200)


@router.post("/create")
async def create_part(visit: Visit) -> Response:
    """Create the boxes of the first part of a table. The form on the page has the rest."""
    fields = await read_console_form(visit)
    done = int(fields.one("done")) if fields.one("done").isdecimal() else 0
    try:
        table = read_import_table(fields.one("table"), fields.one("site"), await list_sites(visit))
    except TableError as error:
        return await _show_form(visit, fields, _Checked(None, error.faults), 422)
    part = table.split()[0]
    try:
        made = await post_once(visit, _CALL, part.text.encode(), fields, part=done, content_type=_TYPE)
    except ApiProblemError as error:
        checked = _Checked(table, _read_faults(error, part), error.problem.get("errors_omitted", 0))
        return await _show_form(visit, fields, checked, error.status, done=done)
    done += len(made["data"])
    rest = table.without_first_part()
    return render_console_page(
        visit,
        "fleet/box_import_progress.html",
        title=visit.t("Import boxes"),
        section=SECTION,
        status=201,
        made=done,
        total=done + max(0, len(table.rows) - len(made["data"])),
        rest=rest,
        site=fields.one("site"),
        once=fields.one(FORM_KEY),
        credentials=write_credentials(box["credentials"] for box in made["data"]),
    )


async def _check(visit: ConsoleVisit, fields: FormFields) -> _Checked:
    try:
        table = read_import_table(fields.one("table"), fields.one("site"), await list_sites(visit))
    except TableError as error:
        return _Checked(None, error.faults)
    if not table.rows:
        nothing = "The table has a header and no rows. Add a row for each box."
        return _Checked(table, [TableFault(1, "table", "empty_batch", nothing)])
    faults, omitted = [*table.find_unknown_sites(), *table.find_repeated_ids()], 0
    for part in table.split():
        try:
            await visit.api.call(
                "POST",
                _CALL,
                query={"dry_run": True},
                body=part.text.encode(),
                headers={"content-type": _TYPE},
            )
        except ApiProblemError as error:
            faults += _read_faults(error, part)
            omitted += error.problem.get("errors_omitted", 0)
    # The API finds some of these too, in other words.
    distinct = {(fault.line, fault.field): fault for fault in reversed(faults)}
    return _Checked(table, sorted(distinct.values()), omitted)


def _read_faults(error: ApiProblemError, part: ImportPart) -> list[TableFault]:
    errors = error.problem.get("errors")
    if errors:
        return locate_faults(errors, part.lines)
    # It concerns the whole table, such as a quota.
    return [TableFault(1, "table", error.code, error.detail)]


async def _show_form(
    visit: ConsoleVisit, fields: FormFields, checked: _Checked | None, status: int = 200, *, done: int = 0
) -> Response:
    table = checked.table if checked else None
    faults = checked.faults if checked else ()
    of_cells = {(fault.line, fault.field): fault.detail for fault in faults}
    faulty = {fault.line for fault in faults}
    rows = table.rows if table else ()
    shown = [row for row in rows if row.line in faulty][:_SHOWN_FAULTY]
    sites = await list_sites(visit)
    return render_console_page(
        visit,
        "fleet/box_import.html",
        title=visit.t("Import boxes"),
        section=SECTION,
        status=status,
        sites=sites,
        site_names={site["id"]: site["name"] for site in sites},
        columns=COLUMNS,
        checked=checked,
        table=table,
        shown=shown or rows[:_SHOWN_GOOD],
        of_cells=of_cells,
        elsewhere=[fault for fault in faults if not _is_in_cell(fault, table)],
        made=done,
        text=fields.verbatim("table"),
        site=fields.one("site"),
    )


def _is_in_cell(fault: TableFault, table: ImportTable | None) -> bool:
    """Return whether a fault has a cell to be shown at."""
    if table is None or fault.field not in table.columns:
        return False
    return any(row.line == fault.line for row in table.rows)
