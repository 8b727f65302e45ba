"""Writes the text formats CSV, NDJSON and GeoJSON. PostgreSQL formats each row as a line.

An interrupted file can be resumed after its last complete line: the concatenated files equal the whole.
Values need no escaping: ids of boxes and sites and names of metrics have no special characters.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, Final, cast

from sqlalchemy import CTE, ColumnElement, Text, func, literal
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.timeseries.exports.row_slice_reader import PackedSlice
from app.timeseries.exports.row_source import ExportColumn

# A function of PostgreSQL takes 100 arguments at most.
_ARGUMENTS: Final = 90
type _Part = ColumnElement[Any] | str


def _joined(*parts: _Part) -> ColumnElement[str]:
    """Concatenate texts and values, skipping NULL.

    PostgreSQL writes numbers in as few digits as give the same float again.
    """
    texts: list[ColumnElement[Any]] = [
        literal(part, Text) if isinstance(part, str) else part for part in parts
    ]
    while len(texts) > 1:
        texts = [func.concat(*some) for some in batched(texts, _ARGUMENTS)]
    return cast("ColumnElement[str]", texts[0])


def _time(page: CTE) -> ColumnElement[str]:
    """Format a row's time as RFC 3339 in UTC, with a leading quotation mark and without the zone.

    `to_json` writes ISO 8601. Sessions are in UTC, so that it ends with `+00:00"`.
    """
    return func.left(as_type(func.to_json(page.c.time), Text), -len('+00:00"'))


def _csv(page: CTE, columns: Sequence[ExportColumn]) -> ColumnElement[str]:
    parts: list[_Part] = [page.c.id, ",", page.c.site_id, ",", func.substr(_time(page), 2), "Z"]
    for column in columns:
        parts += [",", page.c[column.name]]
    return _joined(*parts, "\r\n")


def _members(page: CTE, columns: Sequence[ExportColumn]) -> list[ColumnElement[str]]:
    """Format a comma, the name and the value of each column; NULL if there is no value."""
    return [
        literal(f',"{column.name}":', Text).concat(as_type(page.c[column.name], Text)) for column in columns
    ]


def _named(page: CTE) -> list[_Part]:
    """Format the members that identify a row."""
    return ['"box":"', page.c.id, '","site":"', page.c.site_id, '","time":', _time(page), 'Z"']


def _ndjson(page: CTE, columns: Sequence[ExportColumn]) -> ColumnElement[str]:
    values = func.substr(_joined(*_members(page, columns)), 2)
    return _joined("{", *_named(page), ',"values":{', values, "}}\n")


def _geojson(page: CTE, columns: Sequence[ExportColumn]) -> ColumnElement[str]:
    place: list[_Part] = [page.c.longitude, ",", page.c.latitude]
    return _joined(
        ',{"type":"Feature","geometry":{"type":"Point","coordinates":[',
        *place,
        ']},"properties":{',
        *_named(page),
        *_members(page, columns),
        "}}\n",
    )


def format_csv_header(columns: Sequence[ExportColumn]) -> str:
    """Format the header line."""
    return ",".join(("box", "site", "time", *(column.name for column in columns))) + "\r\n"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A format of lines.

    Attributes:
        media_type: of the response.
        line: SQL of a row's line.
        head: text before the first line.
        tail: text after the last line.
        separated: each line begins with a comma, which is removed from the first line of a file.
    """

    media_type: str
    line: Callable[[CTE, Sequence[ExportColumn]], ColumnElement[str]]
    head: Callable[[Sequence[ExportColumn]], str] = lambda _: ""
    tail: str = ""
    separated: bool = False

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """Select the lines of a slice as one text."""
        line = self.line(page, columns)
        return [func.string_agg(line, aggregate_order_by(literal("", Text), page.c.id, page.c.time))]

    async def chunks(
        self, slices: AsyncIterator[PackedSlice], columns: Sequence[ExportColumn], *, resumed: bool
    ) -> AsyncIterator[bytes]:
        """Yield the file a slice at a time. Reads the first slice before it yields the head.

        Args:
            slices: the rows.
            columns: of them.
            resumed: the client has the head and the rows before these.
        """
        pending = "" if resumed else self.head(columns)
        first = not resumed
        async for each in slices:
            (lines,) = each.packed
            yield (pending + lines[first and self.separated :]).encode()
            pending, first = "", False
        yield (pending + self.tail).encode()


TEXT_FORMATS: Final[Mapping[str, TextFormat]] = {
    "csv": TextFormat("text/csv; charset=utf-8; header=present", _csv, format_csv_header),
    "ndjson": TextFormat("application/x-ndjson", _ndjson),
    "geojson": TextFormat(
        "application/geo+json",
        _geojson,
        lambda _: '{"type":"FeatureCollection","features":[\n',
        "]}\n",
        separated=True,
    ),
}
"""The formats by their name in `format`."""
