"""Boxes as a CSV table: what `POST /v1/boxes/bulk` takes instead of JSON, and answers with.

An attribute has a column of its own, `attribute:NAME`; tags share one, with bars between them.

Turns a table into the same document that JSON would give, and remembers the line of each row; what the fields
may hold is not judged here. Knows no HTTP and no database.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from app.core.problems import FAULTS_LIMIT, CodedValueError
from app.core.reasons import shown
from app.sites.box_schemas import BULK_MAX, BoxCreated
from app.sites.labels import check_attribute_name

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
# Five times what a box can fill. A row of five megabytes would be parted while nobody else is served.
_LINE_MAX: Final = 65_536
_PLACE: Final = ("longitude", "latitude")
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,15})?")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
# What spreadsheets take for the beginning of a formula.
_FORMULA: Final = frozenset("=+-@\t\r")


class Fault(NamedTuple):
    """What is wrong with a table; `line` counts from 1, the header's."""

    line: int
    field: str
    code: str
    detail: str


class TableError(ValueError):
    """A table that cannot be read."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults[0].detail)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read.

    Attributes:
        document: as JSON would have been: `{"boxes": […]}`.
        lines: the line that each box begins on.
    """

    document: dict[str, Any]
    lines: Sequence[int]


def read_table(body: bytes) -> Table:
    """Read a table in UTF-8, with a header, its cells parted by commas or semicolons.

    A byte-order mark is passed over, and so are rows without any text: spreadsheets write both. Not more rows
    are read than tell that they are too many, or that enough of them are at fault to be told.

    Raises:
        TableError: codes `invalid_encoding`, `empty_body`, `invalid_csv`, `too_many_columns`,
            `unknown_field`, `duplicate_key`, `missing_field`, `invalid_attribute`.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TableError(Fault(1, "body", "invalid_encoding", "The table is not UTF-8")) from None
    if not text.strip():
        raise TableError(Fault(1, "body", "empty_body", "There is nothing to read"))
    rows = _rows(text)
    line, header = next(rows)
    names = _names(line, header)
    boxes, lines = [], []
    faults: list[Fault] = []
    for line, row in rows:
        if len(faults) == FAULTS_LIMIT:
            break
        if len(row) != len(names):
            detail = f"The row has {len(row)} cells, the header {len(names)}"
            faults.append(Fault(line, "row", "invalid_csv", detail))
            continue
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=True) if cell.strip()}
        if any(name in cells for name in _PLACE) and not all(name in cells for name in _PLACE):
            detail = "longitude and latitude go together"
            faults.append(Fault(line, "location", "missing_field", detail))
            continue
        boxes.append(_box(cells))
        lines.append(line)
        if len(boxes) > BULK_MAX:
            break
    if faults:
        raise TableError(*faults)
    return Table({"boxes": boxes}, lines)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    head = text.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(Fault(line, "row", "invalid_csv", f"This is not CSV: {error}")) from None


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > _LINE_MAX:
            detail = f"The line has {len(line)} characters, of {_LINE_MAX} at most"
            raise TableError(Fault(number, "row", "invalid_csv", detail))
        yield line


def _names(line: int, header: Sequence[str]) -> list[str]:
    if len(header) > COLUMNS_MAX:
        detail = f"The table has {len(header)} columns, of {COLUMNS_MAX} at most"
        raise TableError(Fault(line, "header", "too_many_columns", detail))
    names = [cell.strip().lower() for cell in header]
    seen: set[str] = set()
    for name in names:
        if name.startswith(ATTRIBUTE):
            _check_attribute(line, name)
        elif name not in COLUMNS:
            there = ", ".join((*COLUMNS, f"{ATTRIBUTE}NAME"))
            detail = f"There is no column {shown(name)}. There are: {there}"
            raise TableError(Fault(line, "header", "unknown_field", detail))
        if name in seen:
            raise TableError(Fault(line, "header", "duplicate_key", f"The column {name} occurs twice"))
        seen.add(name)
    return names


def _check_attribute(line: int, name: str) -> None:
    try:
        check_attribute_name(name.removeprefix(ATTRIBUTE))
    except CodedValueError as error:
        raise TableError(Fault(line, "header", error.code, str(error))) from None


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
    if cells.get("ack", "").lower() in {"true", "false"}:
        box["ack"] = cells["ack"].lower() == "true"
    if "longitude" in cells:
        numbers = [float(cells[name]) if _DECIMAL.fullmatch(cells[name]) else cells[name] for name in _PLACE]
        box["location"] = {"type": "Point", "coordinates": numbers}
    return box


def write_table(boxes: Iterable[BoxCreated]) -> str:
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
