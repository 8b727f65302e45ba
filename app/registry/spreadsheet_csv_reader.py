"""Reads the CSV of English, French and German spreadsheets: encodings, separators, decimal marks, booleans.

An ambiguous cell or file is refused with advice. The meaning of columns is up to `app.registry.box_csv`.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.platform.http.contract.problems import CodedValueError

TRUTH: Final = {
    **dict.fromkeys(("true", "vrai", "wahr"), True),
    **dict.fromkeys(("false", "faux", "falsch"), False),
}
"""The boolean values of English, French and German spreadsheets, in lower case."""

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}

# Spreadsheets evaluate a cell that begins with one of these (CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
# Five times the longest row of a box: splitting a row of five megabytes would block other requests.
_LINE_MAX: Final = 65_536
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What is declared as ISO 8859-1 is read as its superset Windows-1252, as browsers do.
_CHARSETS: Final = {
    "utf-8": "utf-8",
    "ascii": "utf-8",
    "utf-16": "utf-16",
    "iso8859-1": "cp1252",
    "cp1252": "cp1252",
    "iso8859-15": "iso8859-15",
}
# Letters, typographic marks and signs of western European texts in Windows-1252. Other bytes hint at another
# encoding: é is 0x8E in Mac Roman and 0x82 in DOS code pages.
_WESTERN: Final = re.compile(rb"[\x00-\x7f\x80\x85\x8c\x91-\x97\x9c\x9f\xa0\xa7\xab\xb0\xb5\xbb\xc0-\xff]*")
# A multi-byte character of UTF-8: the file may be damaged UTF-8.
_PAIR: Final = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.?)"?', re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}([.,])[0-9]{1,15}([eE][+-]?[0-9]{1,2})?")
_GROUPED: Final = re.compile(r"-?[0-9]{1,3}(?:[ .,'\u2019\u00a0\u202f][0-9]{3})+(?:[.,][0-9]+)?")


class TableFault(NamedTuple):
    """A fault of a table; `line` counts from 1."""

    line: int
    field: str
    code: str
    detail: str


class TableError(ValueError):
    """The rest of the table cannot be read."""

    def __init__(self, *faults: TableFault) -> None:
        super().__init__(faults[0].detail)
        self.faults = faults


class UnknownCharsetError(ValueError):
    """The declared encoding is not accepted."""


def decode_text(body: bytes, charset: str | None) -> str:
    """Decode a table: by its byte-order mark, by what was declared, or as UTF-8 or plain Windows-1252.

    Args:
        body: The table.
        charset: The declared encoding; None: none.

    Raises:
        UnknownCharsetError: The declared encoding is not accepted.
        TableError: `invalid_encoding`, `empty_body`.
    """
    encoding = _encoding(body, charset)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        declared = "" if charset is None else ", as declared or as its byte-order mark says"
        raise TableError(
            TableFault(
                line, "body", "invalid_encoding", f"The table is not {_named(encoding)}{declared}. {_SAVE}"
            )
        ) from None
    if not text.strip():
        raise TableError(TableFault(1, "body", "empty_body", "The table is empty"))
    return text


_SAVE: Final = 'Save it as "CSV UTF-8", or declare its encoding: Content-Type: text/csv; charset=windows-1252'


def _named(encoding: str) -> str:
    return {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252"}.get(encoding, encoding.upper())


def _encoding(body: bytes, charset: str | None) -> str:
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return encoding
    if charset is not None:
        try:
            return _CHARSETS[codecs.lookup(charset).name]
        except LookupError:
            raise UnknownCharsetError(charset) from None
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        if _WESTERN.fullmatch(body) and not _PAIR.search(body):
            return "cp1252"
    return "utf-8"


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table that are not empty, the header first, each with the line on which it begins.

    Attributes:
        separator: The character between its cells.
    """

    separator: str
    _text: str
    _skipped: int

    @classmethod
    def of(cls, text: str) -> "TableRows":
        """Find the separator: that of a line `sep=;`, or the one that the header contains.

        Raises:
            TableError: `invalid_csv`: the header contains several separators.
        """
        for number, line in enumerate(_lines(text), 1):
            named = _SEPARATOR_LINE.fullmatch(line.rstrip("\r\n,;")) if number == 1 else None
            if named is not None:
                found = named[1] or line.rstrip("\r\n")[-1]
                if found not in SEPARATORS:
                    raise TableError(TableFault(1, "header", "invalid_csv", f"Separate cells by {_CHOICES}"))
                return cls(found, text, 1)
            if line.strip():
                return cls(_separator(number, line), text, 0)
        return cls(",", text, 0)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line and cells of each row (TableError `invalid_csv`)."""
        lines = _lines(self._text)
        for _ in range(self._skipped):
            next(lines)
        reader = csv.reader(lines, delimiter=self.separator, strict=True)
        line = self._skipped + 1
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield line, row
                line = self._skipped + reader.line_num + 1
        except csv.Error as error:
            raise TableError(TableFault(line, "row", "invalid_csv", f"This is not CSV: {error}")) from None


_CHOICES: Final = ", ".join(SEPARATORS.values())


def _separator(number: int, header: str) -> str:
    found = [separator for separator in SEPARATORS if separator in header.rstrip("\r\n")]
    if len(found) > 1:
        named = " and ".join(SEPARATORS[each] for each in found)
        raise TableError(
            TableFault(
                number, "header", "invalid_csv", f"The header has {named}. Separate all cells by one of them"
            )
        )
    return found[0] if found else ","


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if len(line) > _LINE_MAX:
            detail = f"The line has {len(line)} characters; the limit is {_LINE_MAX}"
            raise TableError(TableFault(number, "row", "invalid_csv", detail))
        yield line


@dataclass(slots=True)
class DecimalMark:
    """Detects the decimal mark of a table: a point, or a comma unless commas separate the cells.

    Attributes:
        separator: The character between cells.
        mark: The mark of the numbers so far; None: no number had one.
    """

    separator: str
    mark: str | None = None

    def plain(self, cell: str) -> str:
        """Replace the decimal comma of a number by a point. Other cells are returned unchanged.

        Raises:
            CodedValueError: `ambiguous_number`: the cell can be read as two numbers.
        """
        number = _NUMBER.fullmatch(cell)
        if number is None:
            return cell
        mark = number[1]
        if mark == "," == self.separator:
            raise CodedValueError(
                "ambiguous_number",
                f"{cell} may have a decimal comma or a thousands separator. Write it with a point, or "
                "separate the cells by semicolons",
            )
        if self.mark not in {None, mark}:
            raise CodedValueError(
                "ambiguous_number",
                f"{cell} has another decimal mark than the numbers before it. Use one of them throughout",
            )
        self.mark = mark
        return cell.replace(",", ".")


def check_no_thousands_separator(cell: str) -> None:
    """Refuse a number with thousands separators (CodedValueError `ambiguous_number`)."""
    if _GROUPED.fullmatch(cell):
        raise CodedValueError("ambiguous_number", f"{cell}: write the number without thousands separators")


def escape_formula(text: str) -> str:
    """Prefix a text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) else text
