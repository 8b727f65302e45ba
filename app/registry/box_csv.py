"""Boxes as a CSV table: what `POST /v1/boxes/bulk` takes instead of JSON, and answers with.

An attribute has a column of its own, `attribute:NAME`; tags share one, with bars between them.

Turns a table into the same document that JSON would give, and remembers the line of each row; what the fields
may hold is not judged here. Knows no HTTP and no database.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.box_schemas import BULK_MAX, BoxCreated
from app.registry.labels import check_attribute_name
from app.registry.spreadsheet_csv import (
    TRUTH,
    DecimalMark,
    TableError,
    TableFault,
    TableRows,
    check_no_thousands_separator,
    decode_text,
)

COLUMNS: Final = ("id", "site_id", "name", "longitude", "latitude", "interval_s", "ack", "kind", "tags")
ATTRIBUTE: Final = "attribute:"
"""What the name of an attribute's column begins with."""

COLUMNS_MAX: Final = 100
"""How many there may be: more than a box has fields and attributes."""

ANSWER_COLUMNS: Final = ("id", "site_id", "name", "username", "password")
EXAMPLE: Final = (
    "id,site_id,name,longitude,latitude,interval_s,ack,kind,tags,attribute:night_limit\n"
    "box-0001,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,Corner of rue de Metz,1.4453,43.6009,60,true,facade,"
    "metz|lot:2026-11,55\n"
    "box-0002,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,,,,,,,,\n"
)
_REQUIRED: Final = ("id", "site_id")
_PLACE: Final = {"longitude": None, "latitude": None}.keys()
_NUMBERS: Final = (*_PLACE, "interval_s")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,15})?")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
# What spreadsheets take for the beginning of a formula.
_FORMULA: Final = frozenset("=+-@\t\r")


@dataclass(frozen=True, slots=True)
class BoxTable:
    """A table that was read.

    Attributes:
        document: as JSON would have been: `{"boxes": […]}`, without the cells that are at fault.
        lines: the line that each box begins on.
        faults: what is wrong with the header and with rows.
        absent: the required columns that the header has not.
    """

    document: dict[str, Any]
    lines: Sequence[int]
    faults: Sequence[TableFault] = ()
    absent: Sequence[str] = ()


def read_box_table(body: bytes, charset: str | None = None) -> BoxTable:
    """Read a table with a header, as spreadsheets write it (`app.registry.spreadsheet_csv`).

    Rows without any text are passed over. Not more rows are read than tell that they are too many. What one
    row has wrong does not keep the others from being read.

    Raises:
        UnknownCharsetError: The declared encoding is not accepted.
        TableError: Nothing of it can be read: codes `invalid_encoding`, `empty_body`, `invalid_csv`,
            `too_many_columns`.
    """
    rows = TableRows.of(decode_text(body, charset))
    numbered = iter(rows)
    header = next(numbered, None)
    if header is None:
        raise TableError(TableFault(1, "body", "empty_body", "There is no header to read"))
    line, names = header
    columns = _Columns.of(line, names, DecimalMark(rows.separator))
    boxes: list[dict[str, Any]] = []
    lines: list[int] = []
    faults = list(columns.faults)
    try:
        for count, (line, row) in enumerate(numbered):
            if count == BULK_MAX:
                faults.append(
                    TableFault(1, "table", "too_many_boxes", f"At most {BULK_MAX} boxes are taken at once")
                )
                break
            box, wrong = columns.box(line, row)
            faults += wrong
            if box is not None:
                boxes.append(box)
                lines.append(line)
    except TableError as error:
        faults += error.faults
    absent = [name for name in _REQUIRED if name not in columns.names]
    return BoxTable({"boxes": boxes}, lines, faults, absent)


@dataclass(slots=True)
class _Columns:
    """The columns of a table: their names, None for one that is at fault; and how many empty ones follow."""

    names: Sequence[str | None]
    faults: Sequence[TableFault]
    mark: DecimalMark
    empty: int = 0

    @classmethod
    def of(cls, line: int, header: Sequence[str], mark: DecimalMark) -> "_Columns":
        if len(header) > COLUMNS_MAX:
            detail = f"The table has {len(header)} columns, of {COLUMNS_MAX} at most"
            raise TableError(TableFault(line, "header", "too_many_columns", detail))
        names: list[str | None] = []
        faults: list[TableFault] = []
        named = len(header)
        # Spreadsheets save empty columns behind those with something in them.
        while named and not header[named - 1].strip():
            named -= 1
        for place, cell in enumerate(header[:named], 1):
            name = cell.strip().lower()
            try:
                _check_name(name, place, names)
            except CodedValueError as error:
                faults.append(TableFault(line, "header", error.code, str(error)))
                names.append(None)
            else:
                names.append(name)
        return cls(names, faults, mark, len(header) - named)

    def box(self, line: int, row: Sequence[str]) -> tuple[dict[str, Any] | None, list[TableFault]]:
        """A row's box without the cells at fault (None where cells cannot be told apart), and the faults."""
        named = len(self.names)
        if self.empty and not any(cell.strip() for cell in row[named:]):
            row = row[:named]
        if self.empty and len(row) == named + self.empty:
            place = next(place for place, cell in enumerate(row, 1) if place > named and cell.strip())
            detail = f"Cell {place} has a text, but column {place} has no name"
            return None, [TableFault(line, "row", "invalid_csv", detail)]
        if len(row) != named:
            detail = f"The row has {len(row)} cells, the header {len(self.names)}"
            return None, [TableFault(line, "row", "invalid_csv", detail)]
        faults = []
        cells: dict[str, str] = {}
        for name, cell in zip(self.names, row, strict=True):
            if name is None or not (text := cell.strip()):
                continue
            try:
                cells[name] = self._plain(name, text)
            except CodedValueError as error:
                faults.append(TableFault(line, name, error.code, str(error)))
        if len(_PLACE & cells.keys()) == 1:
            if not any(fault.field in _PLACE for fault in faults):
                faults.append(
                    TableFault(line, "location", "missing_field", "longitude and latitude go together")
                )
            cells = {name: cell for name, cell in cells.items() if name not in _PLACE}
        return _box(cells), faults

    def _plain(self, name: str, cell: str) -> str:
        attribute = name.startswith(ATTRIBUTE)
        plain = self.mark.plain(cell) if attribute or name in _PLACE else cell
        if name in _NUMBERS and (_WHOLE if name == "interval_s" else _DECIMAL).fullmatch(plain) is None:
            check_no_thousands_separator(cell)
        return plain


def _check_name(name: str, place: int, before: Sequence[str | None]) -> None:
    if not name:
        raise CodedValueError("unknown_field", f"Column {place} has no name. Name it, or empty all of it")
    if name.startswith(ATTRIBUTE):
        check_attribute_name(name.removeprefix(ATTRIBUTE))
    elif name not in COLUMNS:
        there = ", ".join((*COLUMNS, f"{ATTRIBUTE}NAME"))
        raise CodedValueError(
            "unknown_field", f"There is no column {format_rejected_value(name)}. There are: {there}"
        )
    if name in before:
        raise CodedValueError("duplicate_key", f"The column {name} occurs twice")


def _box(cells: dict[str, str]) -> dict[str, Any]:
    """A row's box. What is not of its column's form stays a text, which its field refuses."""
    box: dict[str, Any] = {}
    attributes: dict[str, float | str] = {}
    for name, cell in cells.items():
        if name.startswith(ATTRIBUTE):
            number = _NUMBER.fullmatch(cell) is not None
            attributes[name.removeprefix(ATTRIBUTE)] = float(cell) if number else cell
        elif name not in _PLACE:
            box[name] = cell
    if attributes:
        box["attributes"] = attributes
    if "tags" in cells:
        box["tags"] = [tag.strip() for tag in cells["tags"].split("|")]
    if _WHOLE.fullmatch(cells.get("interval_s", "")):
        box["interval_s"] = int(cells["interval_s"])
    if cells.get("ack", "").lower() in TRUTH:
        box["ack"] = TRUTH[cells["ack"].lower()]
    if "longitude" in cells:
        numbers = [float(cells[name]) if _DECIMAL.fullmatch(cells[name]) else cells[name] for name in _PLACE]
        box["location"] = {"type": "Point", "coordinates": numbers}
    return box


def write_credentials_table(boxes: Iterable[BoxCreated]) -> str:
    """New boxes with their credentials, one a row; the header comes first.

    A text that a spreadsheet would take for a formula gets an apostrophe before it. Passwords never begin so.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(ANSWER_COLUMNS)
    for box in boxes:
        cells = (box.id, str(box.site_id), box.name or "", box.credentials.username)
        writer.writerow((*map(_harmless, cells), box.credentials.password))
    return out.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in _FORMULA else cell
