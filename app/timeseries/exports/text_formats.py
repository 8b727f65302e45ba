"""Writes the text formats CSV, NDJSON and GeoJSON. PostgreSQL formats times and numbers.

An interrupted file can be resumed after its last complete line: the concatenated files equal the whole.
Values need no escaping: ids of boxes and sites and names of metrics have no special characters.

COPY writes the cells of a row with a control character between them, which no cell contains. Then some bytes
are replaced, which takes three milliseconds for a megabyte.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, TableClause, Text, case, literal

from app.timeseries.exports.copy_query import BoxRows, CopyOptions, ExportedBox, LastBox
from app.timeseries.exports.row_source import ExportColumn

_BETWEEN: Final = b"\x02"
_OPTIONS: Final[CopyOptions] = {"format": "csv", "delimiter": _BETWEEN.decode(), "quote": "\x01"}
# The end of a time, as PostgreSQL writes it: sessions are in UTC.
_UTC: Final = b"+00" + _BETWEEN
_DATE_AND_TIME: Final = bytes.maketrans(b" ", b"T")


def format_number(value: float) -> str:
    """Format a number as PostgreSQL does: in as few digits as give the same float again.

    From 1e15 on PostgreSQL uses an exponent, earlier than Python. No metric is that large.
    """
    return repr(float(value)).removesuffix(".0")


def format_time(moment: datetime) -> str:
    """Format an instant in UTC as RFC 3339 without the zone, with as many digits as it needs."""
    text = moment.isoformat().removesuffix("+00:00")
    return text.rstrip("0") if moment.microsecond else text


def format_csv_header(columns: Sequence[ExportColumn]) -> str:
    """Format the header line."""
    return ",".join(("box", "site", "time", *(column.name for column in columns))) + "\r\n"


def _point(box: ExportedBox) -> str:
    return f"{format_number(box.longitude)},{format_number(box.latitude)}"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A format of lines.

    Attributes:
        media_type: of the response.
        begin: a line's text before the time, by its box.
        after_time: the text after the time, in UTC.
        member: the text before a value, by the name of its column. A missing value has no such text.
        separator: the text between the parts of a line.
        end: the end of a line.
        head: text before the first line.
        tail: text after the last line.
        separated: each line begins with a comma, which is removed from the first line of a file.
        nested: the values are an object of their own, and the first one has no comma before it.
    """

    media_type: str
    begin: Callable[[ExportedBox], str]
    after_time: str
    member: Callable[[str], str] | None
    separator: str
    end: str
    head: Callable[[Sequence[ExportColumn]], str] = lambda _: ""
    tail: str = ""
    separated: bool = False
    nested: bool = False

    @property
    def copy_options(self) -> CopyOptions:
        """The options of COPY."""
        return _OPTIONS

    @property
    def row_format(self) -> "TextFormat":
        """The format of rows, which is this one."""
        return self

    def label(self, box: ExportedBox) -> str:
        """Return the begin of the lines of a box."""
        return self.begin(box)

    def cells(
        self, boxes: TableClause, values: Sequence[tuple[ExportColumn, ColumnElement[Any]]]
    ) -> tuple[ColumnElement[Any], Sequence[ColumnElement[Any]]]:
        """Select the label, and each value after its text."""
        found: list[ColumnElement[Any]] = []
        for column, value in values:
            if self.member is not None:
                found.append(case((value.is_not(None), literal(self.member(column.name), Text))))
            found.append(value)
        return boxes.c.label, found

    def encode_copied(self, copied: bytes) -> bytes:
        """Complete some lines."""
        # RFC 3339 has a T between date and time, and nothing else in a line has a space.
        lines = copied.replace(_UTC, self.after_time.encode() + _BETWEEN).replace(b"\n", self.end.encode())
        if self.separator:
            lines = lines.translate(bytes.maketrans(b" " + _BETWEEN, b"T" + self.separator.encode()))
        else:
            lines = lines.translate(_DATE_AND_TIME, _BETWEEN)
        return self._correct(lines)

    def find_last_box(
        self, encoded: bytes, boxes: Sequence[ExportedBox], _: Sequence[ExportColumn]
    ) -> LastBox:
        """Find the box of the last line."""
        last = encoded[encoded.rfind(b"\n", 0, -1) + 1 :]
        begins = [(self.begin(box) + self.separator).encode() for box in boxes]
        number = next(number for number, begin in enumerate(begins) if last.startswith(begin))
        begin = 0
        if not encoded.startswith(begins[number]):
            begin = encoded.index(b"\n" + begins[number]) + 1
        return LastBox(number, begin, encoded.count(b"\n", 0, begin))

    def complete(self, encoded: bytes, _: Sequence[ExportedBox]) -> bytes:
        """Return the lines, which need nothing else."""
        return encoded

    def encode_rows(self, rows: BoxRows, columns: Sequence[ExportColumn]) -> bytes:
        """Write the lines of rows in memory."""
        begin, cells = self.begin(rows.box), []
        for column, values in zip(columns, rows.values, strict=True):
            member = "" if self.member is None else self.member(column.name)
            cells.append(["" if value is None else member + format_number(value) for value in values])
        lines = [
            self.separator.join((begin, format_time(time) + self.after_time, *row)) + self.end
            for time, row in zip(rows.times, zip(*cells, strict=True), strict=True)
        ]
        return self._correct("".join(lines).encode())

    def _correct(self, lines: bytes) -> bytes:
        return lines.replace(b"{,", b"{") if self.nested else lines

    async def chunks(
        self, slices: AsyncIterator[bytes], columns: Sequence[ExportColumn], *, resumed: bool
    ) -> AsyncIterator[bytes]:
        """Yield the file a slice at a time. Reads the first slice before it yields the head.

        Args:
            slices: the rows.
            columns: of them.
            resumed: the client has the head and the rows before these.
        """
        pending = b"" if resumed else self.head(columns).encode()
        is_first = not resumed
        async for lines in slices:
            yield pending + lines[self.separated :] if is_first else lines
            pending, is_first = b"", False
        yield pending + self.tail.encode()


TEXT_FORMATS: Final[Mapping[str, TextFormat]] = {
    "csv": TextFormat(
        "text/csv; charset=utf-8; header=present",
        begin=lambda box: f"{box.id},{box.site_id}",
        after_time="Z",
        member=None,
        separator=",",
        end="\r\n",
        head=format_csv_header,
    ),
    "ndjson": TextFormat(
        "application/x-ndjson",
        begin=lambda box: f'{{"box":"{box.id}","site":"{box.site_id}","time":"',
        after_time='Z","values":{',
        member=lambda name: f',"{name}":',
        separator="",
        end="}}\n",
        nested=True,
    ),
    "geojson": TextFormat(
        "application/geo+json",
        begin=lambda box: (
            f',{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{_point(box)}]}},'
            f'"properties":{{"box":"{box.id}","site":"{box.site_id}","time":"'
        ),
        after_time='Z"',
        member=lambda name: f',"{name}":',
        separator="",
        end="}}\n",
        head=lambda _: '{"type":"FeatureCollection","features":[\n',
        tail="]}\n",
        separated=True,
    ),
}
"""The formats by their name in `format`."""
