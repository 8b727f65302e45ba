"""The formats that are text: CSV, NDJSON, GeoJSON. A row is a line, and PostgreSQL writes it.

Owns the bytes of these files. All three are made of lines, so that one that broke can be gone on with after
its last whole line: head, lines and tail of the whole are what the parts say one behind the other. Nothing
has to be escaped: boxes' ids, sites' ids and metrics' names have no characters that would need it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any, Final, cast

from sqlalchemy import CTE, ColumnElement, Text, func, literal
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.timeseries.exports.row_slices import PackedSlice
from app.timeseries.exports.row_source import ExportColumn

# A function of PostgreSQL takes 100 arguments at most.
_ARGUMENTS: Final = 90
type _Part = ColumnElement[Any] | str


def _joined(*parts: _Part) -> ColumnElement[str]:
    """Texts, and values as texts, one behind the other; without those that are NULL.

    Numbers are as PostgreSQL writes them: in as few digits as give the same float again.
    """
    texts: list[ColumnElement[Any]] = [
        literal(part, Text) if isinstance(part, str) else part for part in parts
    ]
    while len(texts) > 1:
        texts = [func.concat(*some) for some in batched(texts, _ARGUMENTS)]
    return cast("ColumnElement[str]", texts[0])


def _time(page: CTE) -> ColumnElement[str]:
    """A row's time as RFC 3339 in UTC, with a quotation mark before it, without the zone.

    ISO 8601 as `to_json` writes it; sessions are in UTC, and the end is `+00:00"`.
    """
    return func.left(as_type(func.to_json(page.c.time), Text), -len('+00:00"'))


def _csv(page: CTE, columns: Sequence[ExportColumn]) -> ColumnElement[str]:
    parts: list[_Part] = [page.c.id, ",", page.c.site_id, ",", func.substr(_time(page), 2), "Z"]
    for column in columns:
        parts += [",", page.c[column.name]]
    return _joined(*parts, "\r\n")


def _members(page: CTE, columns: Sequence[ExportColumn]) -> list[ColumnElement[str]]:
    """A comma, name and value of each column; NULL where there is no value."""
    return [
        literal(f',"{column.name}":', Text).concat(as_type(page.c[column.name], Text)) for column in columns
    ]


def _named(page: CTE) -> list[_Part]:
    """The members that say whose a row is, and of when."""
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
    """The header line."""
    return ",".join(("box", "site", "time", *(column.name for column in columns))) + "\r\n"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A format of lines.

    Attributes:
        media_type: of the answer.
        line: a row's line, as SQL.
        head: what stands before the first line.
        tail: what stands behind the last.
        separated: each line begins with a comma, which the first of a file does not have.
    """

    media_type: str
    line: Callable[[CTE, Sequence[ExportColumn]], ColumnElement[str]]
    head: Callable[[Sequence[ExportColumn]], str] = lambda _: ""
    tail: str = ""
    separated: bool = False

    def pack(self, page: CTE, columns: Sequence[ExportColumn]) -> Sequence[ColumnElement[Any]]:
        """One text: the lines of a slice."""
        line = self.line(page, columns)
        return [func.string_agg(line, aggregate_order_by(literal("", Text), page.c.id, page.c.time))]

    async def chunks(
        self, slices: AsyncIterator[PackedSlice], columns: Sequence[ExportColumn], *, resumed: bool
    ) -> AsyncIterator[bytes]:
        """The file, a slice at a time. The first one comes with the head: a refusal is told before it.

        Args:
            slices: the rows.
            columns: of them.
            resumed: what stood before them is with the client already, head and all.
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
"""By the name that a client asks for."""
