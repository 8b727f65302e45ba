"""Converts a CSV table of boxes to the JSON document of `POST /v1/boxes/bulk`, and writes credentials as CSV.

Each attribute has a column, `attribute:NAME`. Tags share one column, separated by `|`. The line number of
each row is recorded for error messages. Field values are validated later, by the schema of the JSON body.
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
from app.registry.spreadsheet_csv_reader import (
    TRUTH,
    DecimalMark,
    TableError,
    TableFault,
    TableRows,
    check_no_thousands_separator,
    decode_text,
    escape_formula,
)

COLUMNS: Final = ("id", "site_id", "name", "longitude", "latitude", "interval_s", "ack", "kind", "tags")
ATTRIBUTE: Final = "attribute:"
"""The prefix of the name of an attribute's column."""

COLUMNS_MAX: Final = 100
"""The largest number of columns: more than a box has fields and attributes."""

ANSWER_COLUMNS: Final = ("id", "site_id", "name", "username", "password")
EXAMPLE: Final = (
    "id,site_id,name,longitude,latitude,interval_s,ack,kind,tags,attribute:night_limit\n"
    "box-0001,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,Corner of rue de Metz,1.4453,43.6009,60,true,facade,"
    "metz|lot:2026-11,55\n"
    "box-0002,01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10,,,,,,,,\n"
)
_REQUIRED: Final = ("id", "site_id")
_COORDINATES: Final = {"longitude": None, "latitude": None}.keys()
_NUMBERS: Final = (*_COORDINATES, "interval_s")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,15})?")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class BoxTable:
    """A parsed table of boxes.

    Attributes:
        document: The equivalent JSON body, `{"boxes": […]}`, without invalid cells.
        lines: The line on which each box begins.
        faults: The faults of the header and of rows.
        absent: The required columns that are missing in the header.
    """

    document: dict[str, Any]
    lines: Sequence[int]
    faults: Sequence[TableFault] = ()
    absent: Sequence[str] = ()


def read_box_table(body: bytes, charset: str | None = None) -> BoxTable:
    """Read a table with a header, as spreadsheets write it (`app.registry.spreadsheet_csv_reader`).

    Skips empty rows, and stops after the first row above the limit. An invalid row does not stop the others
    from being read.

    Raises:
        UnknownCharsetError: The declared encoding is not accepted.
        TableError: The table cannot be read at all: `invalid_encoding`, `empty_body`, `invalid_csv`,
            `too_many_columns`.
    """
    rows = TableRows.of(decode_text(body, charset))
    numbered = iter(rows)
    header = next(numbered, None)
    if header is None:
        raise TableError(TableFault(1, "body", "empty_body", "The table has no header"))
    line, names = header
    columns = _Columns.of(line, names, DecimalMark(rows.separator))
    boxes: list[dict[str, Any]] = []
    lines: list[int] = []
    faults = list(columns.faults)
    try:
        for count, (line, row) in enumerate(numbered):
            if count == BULK_MAX:
                faults.append(
                    TableFault(1, "table", "too_many_boxes", f"A request takes at most {BULK_MAX} boxes")
                )
                break
            box, row_faults = columns.box(line, row)
            faults += row_faults
            if box is not None:
                boxes.append(box)
                lines.append(line)
    except TableError as error:
        faults += error.faults
    absent = [name for name in _REQUIRED if name not in columns.names]
    return BoxTable({"boxes": boxes}, lines, faults, absent)


@dataclass(slots=True)
class _Columns:
    """The column names of a table (None: invalid), and the number of empty columns after them."""

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
        column_count = len(header)
        # Spreadsheets save empty columns after the last one with content.
        while column_count and not header[column_count - 1].strip():
            column_count -= 1
        for position, cell in enumerate(header[:column_count], 1):
            name = cell.strip().lower()
            try:
                _check_name(name, position, names)
            except CodedValueError as error:
                faults.append(TableFault(line, "header", error.code, str(error)))
                names.append(None)
            else:
                names.append(name)
        return cls(names, faults, mark, len(header) - column_count)

    def box(self, line: int, row: Sequence[str]) -> tuple[dict[str, Any] | None, list[TableFault]]:
        """Read a row. Returns the box without invalid cells (None: not readable), and the faults."""
        column_count = len(self.names)
        if self.empty and not any(cell.strip() for cell in row[column_count:]):
            row = row[:column_count]
        if self.empty and len(row) == column_count + self.empty:
            position = next(
                position for position, cell in enumerate(row, 1) if position > column_count and cell.strip()
            )
            detail = f"Cell {position} has a value, but column {position} has no name"
            return None, [TableFault(line, "row", "invalid_csv", detail)]
        if len(row) != column_count:
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
        if len(_COORDINATES & cells.keys()) == 1:
            if not any(fault.field in _COORDINATES for fault in faults):
                faults.append(
                    TableFault(
                        line, "location", "missing_field", "Give both longitude and latitude, or neither"
                    )
                )
            cells = {name: cell for name, cell in cells.items() if name not in _COORDINATES}
        return _box(cells), faults

    def _plain(self, name: str, cell: str) -> str:
        attribute = name.startswith(ATTRIBUTE)
        plain = self.mark.plain(cell) if attribute or name in _COORDINATES else cell
        if name in _NUMBERS and (_WHOLE if name == "interval_s" else _DECIMAL).fullmatch(plain) is None:
            check_no_thousands_separator(cell)
        return plain


def _check_name(name: str, position: int, before: Sequence[str | None]) -> None:
    if not name:
        raise CodedValueError("unknown_field", f"Column {position} has no name. Name it, or empty its cells")
    if name.startswith(ATTRIBUTE):
        check_attribute_name(name.removeprefix(ATTRIBUTE))
    elif name not in COLUMNS:
        allowed = ", ".join((*COLUMNS, f"{ATTRIBUTE}NAME"))
        raise CodedValueError(
            "unknown_field", f"There is no column {format_rejected_value(name)}. Columns are: {allowed}"
        )
    if name in before:
        raise CodedValueError("duplicate_key", f"The column {name} occurs twice")


def _box(cells: dict[str, str]) -> dict[str, Any]:
    """Build a box from the cells of a row. A cell of another form stays a text, which its field refuses."""
    box: dict[str, Any] = {}
    attributes: dict[str, float | str] = {}
    for name, cell in cells.items():
        if name.startswith(ATTRIBUTE):
            number = _NUMBER.fullmatch(cell) is not None
            attributes[name.removeprefix(ATTRIBUTE)] = float(cell) if number else cell
        elif name not in _COORDINATES:
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
        numbers = [
            float(cells[name]) if _DECIMAL.fullmatch(cells[name]) else cells[name] for name in _COORDINATES
        ]
        box["location"] = {"type": "Point", "coordinates": numbers}
    return box


def write_credentials_table(boxes: Iterable[BoxCreated]) -> str:
    """Write new boxes with their credentials as CSV, one a row, after a header.

    A text that a spreadsheet would read as a formula is prefixed with an apostrophe. Passwords never need it.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(ANSWER_COLUMNS)
    for box in boxes:
        cells = (box.id, str(box.site_id), box.name or "", box.credentials.username)
        writer.writerow((*map(escape_formula, cells), box.credentials.password))
    return out.getvalue()
