"""Writes rows as a table, JSON or CSV.

Names and texts come from tenants and their boxes. Tables show no control characters, which a terminal would
execute, and CSV has no cell that a spreadsheet would evaluate as a formula.
"""

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Literal, TextIO

type OutputFormat = Literal["table", "json", "csv"]
type Row = Mapping[str, Any]

_HIDDEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SAMPLE_ROWS: Final = 50
_WIDEST_CELL: Final = 60


def clean_text(text: str) -> str:
    """Replace control and formatting characters by spaces."""
    return "".join(" " if unicodedata.category(each) in _HIDDEN else each for each in text)


def read_field(row: Row, column: str) -> object:
    """Return a field; a dot leads into an object, and None is what is not there."""
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def complete_columns(columns: Sequence[str], rows: Iterable[Row]) -> tuple[tuple[str, ...], Iterator[Row]]:
    """Add the fields of points, which depend on the request, to the columns.

    Returns:
        The columns, and all rows.
    """
    given = iter(rows)
    first = list(islice(given, _SAMPLE_ROWS))
    others = dict.fromkeys(name for row in first for name in row if name not in columns)
    return (*columns, *others), chain(first, given)


def write_json(objects: Iterable[Row], file: TextIO) -> None:
    """Write an array with one object a line, while they arrive."""
    lead = "["
    for each in objects:
        file.write(f"{lead}\n{json.dumps(each, ensure_ascii=False)}")
        lead = ","
    file.write("[]\n" if lead == "[" else "\n]\n")


def write_csv(columns: Sequence[str], rows: Iterable[Row], file: TextIO) -> None:
    """Write RFC 4180, while the rows arrive."""
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_to_cell(read_field(row, name)) for name in columns])


def _to_cell(value: object) -> str:
    text = _to_text(value)
    return f"'{text}" if isinstance(value, str | list) and text.startswith(_FORMULA) else text


def write_table(columns: Sequence[str], rows: Iterable[Row], file: TextIO, *, width: int | None) -> None:
    """Write columns for people.

    Args:
        columns: The columns.
        rows: The rows; numbers are right-aligned.
        file: Where to write.
        width: The width of the terminal: long cells are wrapped. None: no limit, each row is a line.
    """
    from rich.console import Console  # noqa: PLC0415 (slow, and only for tables)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    values = [[read_field(row, name) for name in columns] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        numeric = values and all(isinstance(row[number], int | float | None) for row in values)
        table.add_column(
            name.upper(),
            justify="right" if numeric else "left",
            no_wrap=width is None,
            overflow="fold",
            max_width=None if width is None else _WIDEST_CELL,
        )
    for row in values:
        table.add_row(*(Text(clean_text(_to_text(value))) for value in row))
    console = Console(file=file, width=width or 100_000, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def write_fields(found: Row, file: TextIO) -> None:
    """Write one object for people: a field a line."""
    longest = max((len(name) for name in found), default=0)
    file.writelines(
        f"{name.ljust(longest)}  {clean_text(_to_text(value))}".rstrip() + "\n"
        for name, value in found.items()
    )
