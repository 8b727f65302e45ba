"""Splits a table of new boxes into parts of the size that the API takes, and maps faults back to its cells.

Pure. The API checks the values; this module knows rows and columns only.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from app.registry.box_schemas import BULK_MAX
from app.registry.spreadsheet_csv_reader import TableError, TableFault, TableRows

ROWS_MAX: Final = 10_000
_ID: Final = "id"
_SITE_ID: Final = "site_id"
_SITE: Final = "site"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ImportRow(NamedTuple):
    """A row with the line of the table on which it begins."""

    line: int
    cells: Sequence[str]


class ImportPart(NamedTuple):
    """A part of a table as CSV, and the line of the whole table for each of its own lines."""

    text: str
    lines: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ImportTable:
    """A table of boxes.

    Attributes:
        columns: The names of the columns, in lower case.
        rows: The rows that are not empty.
        separator: The character between cells.
    """

    columns: Sequence[str]
    rows: Sequence[ImportRow]
    separator: str

    def split(self) -> list[ImportPart]:
        """Split the table into parts that the API takes in one call."""
        starts = range(0, len(self.rows), BULK_MAX)
        return [self._write(self.rows[start : start + BULK_MAX]) for start in starts]

    def without_first_part(self) -> str:
        """Write the rows after the first part as CSV; empty if there are none."""
        rest = self.rows[BULK_MAX:]
        return self._write(rest).text if rest else ""

    def find_unknown_sites(self) -> list[TableFault]:
        """Find names that no site has. Of ids the API says whether there is such a site."""
        if _SITE_ID not in self.columns:
            return []
        column = self.columns.index(_SITE_ID)
        faults: list[TableFault] = []
        for line, cells in self.rows:
            site = cells[column].strip() if column < len(cells) else ""
            if site and not _UUID.fullmatch(site):
                detail = f"No site is called {site}. Give the name or the id of a site."
                faults.append(TableFault(line, _SITE_ID, "not_found", detail))
        return faults

    def find_repeated_ids(self) -> list[TableFault]:
        """Find ids that occur twice: the API sees each part by itself."""
        if _ID not in self.columns:
            return []
        column = self.columns.index(_ID)
        first: dict[str, int] = {}
        faults: list[TableFault] = []
        for line, cells in self.rows:
            box = cells[column].strip() if column < len(cells) else ""
            if box and first.setdefault(box, line) != line:
                detail = f"The id {box} occurs on line {first[box]} already. Ids are unique."
                faults.append(TableFault(line, _ID, "box_exists", detail))
        return faults

    def _write(self, rows: Iterable[ImportRow]) -> ImportPart:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self.separator, lineterminator="\n")
        writer.writerow(self.columns)
        lines = {1: 1}
        next_line = 2
        for line, cells in rows:
            writer.writerow(cells)
            lines[next_line] = line
            # A cell may contain line feeds.
            next_line += 1 + sum(cell.count("\n") for cell in cells)
        return ImportPart(out.getvalue(), lines)


def read_import_table(text: str, site: str, sites: Iterable[Mapping[str, Any]]) -> ImportTable:
    """Read a table, and fill in sites.

    A column `site` may name sites; rows without a site get the chosen one.

    Args:
        text: The table with its header.
        site: The id of the chosen site; empty: none.
        sites: The sites that names are looked up in.

    Raises:
        TableError: It is no table, or has too many rows.
    """
    table = TableRows.of(text)
    numbered = iter(table)
    header = next(numbered, None)
    if header is None:
        raise TableError(TableFault(1, "header", "empty_body", "Paste a table with its header."))
    names = {each["name"].casefold(): each["id"] for each in sites}
    columns = [name.strip().lower() for name in header[1]]
    if _SITE in columns and _SITE_ID not in columns:
        columns[columns.index(_SITE)] = _SITE_ID
    if _SITE_ID not in columns and site:
        columns.append(_SITE_ID)
    column = columns.index(_SITE_ID) if _SITE_ID in columns else None
    rows: list[ImportRow] = []
    for line, cells in numbered:
        if len(rows) == ROWS_MAX:
            detail = f"A table has at most {ROWS_MAX} boxes. Import it in several tables."
            raise TableError(TableFault(line, "table", "too_many_boxes", detail))
        rows.append(ImportRow(line, _fill_site(cells, column, len(columns), site, names)))
    return ImportTable(columns, rows, table.separator)


def _fill_site(
    cells: Sequence[str], column: int | None, width: int, site: str, names: Mapping[str, str]
) -> Sequence[str]:
    if column is None:
        return cells
    filled = [*cells, site] if len(cells) == column == width - 1 else list(cells)
    if column < len(filled):
        given = filled[column].strip()
        filled[column] = names.get(given.casefold(), given) or site
    return filled


def locate_faults(errors: Iterable[Mapping[str, Any]], lines: Mapping[int, int]) -> list[TableFault]:
    """Convert the `errors` of the API to faults of the whole table, by the lines of a part."""
    return [
        TableFault(
            lines.get(each.get("line", 1), 1), str(each["field"]), str(each["code"]), str(each["detail"])
        )
        for each in errors
    ]
