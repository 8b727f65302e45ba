"""Builds the query that COPY executes for a slice.

PostgreSQL formats the rows and sends them nearly as they are in the file: no value becomes a Python object.
COPY accepts no parameters. So the query is compiled once per export, and the literals of a slice are inserted
into its text.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol, TypedDict
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    TableClause,
    Text,
    bindparam,
    column,
    select,
    table,
    true,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from app.platform.db.tenant_scoped_connection import quote_literal
from app.timeseries.exports.row_source import FIRST, LAST, ExportColumn, RowSource

_PARAMETER: Final = re.compile(r"\$(\d+)")
_KEY: Final = "box_key"
_SINCE: Final = "box_since"
_BEFORE: Final = "box_before"
_TIME: Final = TIMESTAMP(timezone=True)
_BOXES: Final = table(
    "looked",
    column("number", Integer),
    column("key", BigInteger),
    column("since", TIMESTAMP(timezone=True)),
    column("before", TIMESTAMP(timezone=True)),
    column("label", Text),
)


class ExportedBox(NamedTuple):
    """A box of a slice.

    Attributes:
        key: of its samples.
        id: its id.
        site_id: of its site.
        longitude: of the box or its site.
        latitude: likewise.
        since: start of its rows, inclusive.
        before: end of its rows, exclusive.
        number: in the register.
    """

    key: int
    id: str
    site_id: UUID
    longitude: float
    latitude: float
    since: datetime
    before: datetime
    number: str = ""


class BoxRows(NamedTuple):
    """Rows of one box, ascending, in the memory of this process.

    Attributes:
        box: the box.
        times: the time of each row.
        values: a list as long as `times` for each column, None if there is no value.
    """

    box: ExportedBox
    times: Sequence[datetime]
    values: Sequence[Sequence[float | None]]


class LastBox(NamedTuple):
    """The box of the last copied row.

    Attributes:
        number: of the box.
        begin: where its rows begin in the encoded bytes.
        rows_before: the number of rows before them.
    """

    number: int
    begin: int
    rows_before: int


class CopyOptions(TypedDict, total=False):
    """The options of COPY, as `asyncpg.Connection.copy_from_query` takes them."""

    format: Literal["csv", "binary"]
    delimiter: str
    quote: str


class RowFormat(Protocol):
    """Turns rows into the bytes of a file."""

    @property
    def copy_options(self) -> CopyOptions:
        """The options of COPY."""
        ...

    def label(self, box: ExportedBox) -> str:
        """Return the text that `cells` finds with each row of a box."""
        ...

    def cells(
        self, boxes: TableClause, values: Sequence[tuple[ExportColumn, ColumnElement[Any]]]
    ) -> tuple[ColumnElement[Any], Sequence[ColumnElement[Any]]]:
        """Select the cell that COPY writes before a row's time, and the cells after it.

        Args:
            boxes: the row's box: `number` in the slice, and `label`.
            values: the columns with their values.
        """
        ...

    def encode_copied(self, copied: bytes) -> bytes:
        """Turn some complete rows, as COPY writes them, into bytes of the file."""
        ...

    def find_last_box(
        self, encoded: bytes, boxes: Sequence[ExportedBox], columns: Sequence[ExportColumn]
    ) -> LastBox:
        """Find the box of the last encoded row."""
        ...

    def complete(self, encoded: bytes, boxes: Sequence[ExportedBox]) -> bytes:
        """Turn all encoded rows of these boxes, or the first of them, into a slice."""
        ...

    def encode_rows(self, rows: BoxRows, columns: Sequence[ExportColumn]) -> bytes:
        """Turn rows in memory into a slice, equal to that of copied rows."""
        ...


class _SliceQuery(NamedTuple):
    """The text of a query, with the names and the values of its parameters."""

    text: str
    names: Sequence[str]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, query: Select[*tuple[Any, ...]]) -> "_SliceQuery":
        """Compile a query."""
        compiled = query.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]
        return cls(str(compiled), compiled.positiontup or (), compiled.params)


class CopyQuery:
    """The query of the rows of some boxes, ordered by box and time.

    Args:
        source: the rows.
        row_format: selects the cells.
        limit: the most rows of each box, and of all.
    """

    def __init__(self, source: RowSource, row_format: RowFormat, limit: int) -> None:
        self._format = row_format
        boxes = _BOXES.c
        rows = source.rows(boxes.key, boxes.since, boxes.before).limit(limit).lateral("mine")
        self._several = self._compile(source, rows, limit, (boxes.number, rows.c.time))
        # Without a join the rows of a box come from its index in their order, and need not be sorted.
        own = source.rows(bindparam(_KEY), bindparam(_SINCE, type_=_TIME), bindparam(_BEFORE, type_=_TIME))
        mine = own.subquery("mine")
        self._single = self._compile(source, mine, limit, (mine.c.time,))

    def _compile(
        self, source: RowSource, rows: FromClause, limit: int, order: Sequence[ColumnElement[Any]]
    ) -> _SliceQuery:
        label, cells = self._format.cells(_BOXES, [(each, rows.c[each.name]) for each in source.columns])
        query = select(label, rows.c.time, *cells).select_from(_BOXES.join(rows, true()))
        return _SliceQuery.of(query.order_by(*order).limit(limit))

    def render(self, boxes: Sequence[ExportedBox]) -> str:
        """Return the query to copy for these boxes, of which there is at least one."""
        query = self._single if len(boxes) == 1 else self._several
        first = boxes[0]
        values = {
            **query.values,
            FIRST: min(box.since for box in boxes),
            LAST: max(box.before for box in boxes),
            _KEY: first.key,
            _SINCE: first.since,
            _BEFORE: first.before,
        }
        text = _PARAMETER.sub(lambda found: _literal(values[query.names[int(found[1]) - 1]]), query.text)
        listed = ", ".join(
            f"({number}, {box.key}::bigint, {_literal(box.since)}::timestamptz,"
            f" {_literal(box.before)}::timestamptz, {quote_literal(self._format.label(box))}::text)"
            for number, box in enumerate(boxes)
        )
        names = ", ".join(_BOXES.c.keys())
        return f"WITH {_BOXES.name} ({names}) AS (VALUES {listed}) {text}"


def _literal(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    return quote_literal(value.isoformat() if isinstance(value, datetime) else str(value))
