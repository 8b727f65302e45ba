"""Lists in an order that the client chooses, a page at a time: `sort=name`, `sort=-created_at`.

Each list has a closed set of orders. Each order is total: what is equal is told apart by the list's own key,
which goes the same way. What has no value comes last either way. A page goes on where the one before it
ended, by the values in its cursor (`app.platform.http.contract.pagination`), so that nothing is missed or
shown twice however much comes in meanwhile; a cursor is of one order.

    SITES = Orders(
        "sites", (identifier(Site.id),), {"created_at": (), "name": (name(Site.name),)}, "created_at"
    )
    Asked = Annotated[Pagination, Depends(SITES.asked)]
"""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator
from sqlalchemy import BigInteger, ColumnElement, Integer, Select, and_, collate, literal, or_, tuple_

from app.platform.http.contract.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    cut_page,
    decode_cursor,
    encode_cursor,
    read_cursor_kind,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.errors import InvalidError

NAME_COLLATION: Final = "und-x-icu"
"""The collation of what people named: `é` stands by `e`, and capitals make no difference to the place."""

_LARGEST: Final = 2**62
_LARGEST_OF_32: Final = 2**31 - 1
_DOWN: Final = "-"
_ABOUT: Final = (
    "In which order; `-` turns it round. What is equal in it is in the order of creation, or of ids, and "
    "what has no value comes last, either way"
)


@dataclass(frozen=True, slots=True)
class SortKey:
    """What rows are sorted by.

    Attributes:
        column: its SQL.
        write: what a cursor holds of a row, which JSON can have.
        read: the same back (ValueError, TypeError for what no row can have had).
        nullable: whether rows may have none.
    """

    column: ColumnElement[Any]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    nullable: bool = False

    def bound(self, value: object) -> ColumnElement[Any]:
        """A value to compare the column with."""
        return literal(value, self.column.type)


def uuid_sort_key(column: Any, of: Callable[[Any], Any] | None = None) -> SortKey:  # noqa: ANN401 (a mapped column)
    """A UUID. `of` takes it out of a row; by default it is the row's attribute."""
    value = of or attrgetter(column.key)
    return SortKey(column.expression, lambda row: str(value(row)), UUID)


def instant_sort_key(
    column: Any,  # noqa: ANN401 (a mapped column)
    of: Callable[[Any], Any] | None = None,
    *,
    nullable: bool = False,
) -> SortKey:
    """A time; the arguments are those of `uuid_sort_key`."""
    value = of or attrgetter(column.key)

    def write(row: object) -> str | None:
        at = value(row)
        return None if at is None else at.isoformat()

    return SortKey(column.expression, write, _optional(_instant) if nullable else _instant, nullable)


def text_sort_key(
    column: Any,  # noqa: ANN401 (a mapped column)
    of: Callable[[Any], Any] | None = None,
    *,
    read: Callable[[Any], str] | None = None,
) -> SortKey:
    """A text in the order of its characters' numbers: of ids and addresses. `read` says what it can be."""
    return SortKey(column.expression, of or attrgetter(column.key), read or parse_cursor_text)


def name_sort_key(column: Any, of: Callable[[Any], Any] | None = None, *, nullable: bool = False) -> SortKey:  # noqa: ANN401 (a mapped column)
    """What people called something, as people sort it."""
    read = _optional(parse_cursor_text) if nullable else parse_cursor_text
    return SortKey(collate(column.expression, NAME_COLLATION), of or attrgetter(column.key), read, nullable)


def number_sort_key(
    column: ColumnElement[Any], of: Callable[[Any], Any], *, nullable: bool = False
) -> SortKey:
    """A number; of a column of whole ones, one that such a column holds."""
    read: Callable[[Any], Any] = _number
    if isinstance(column.type, Integer):
        read = partial(_whole, _LARGEST if isinstance(column.type, BigInteger) else _LARGEST_OF_32)
    return SortKey(column, of, _optional(read) if nullable else read, nullable)


def parse_cursor_text(value: object) -> str:
    """A text of a cursor: what PostgreSQL could not hold was never in one (ValueError)."""
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    value.encode()
    return value


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise TypeError(value)
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError(value)
    return at.astimezone(UTC)


def _number(value: object) -> float:
    # To Python true and false are numbers.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        raise ValueError(value)
    return value


def _whole(largest: int, value: object) -> int:
    # What the database cannot hold it would refuse as a fault of the program.
    if isinstance(value, bool) or not isinstance(value, int) or not -largest <= value <= largest:
        raise ValueError(value)
    return value


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a list a client asks for.

    Attributes:
        sort: in which order: one of the list's.
        limit: how many rows.
        cursor: what the page before gave; None for the first one.
    """

    sort: str
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    @property
    def descending(self) -> bool:
        """Whether it goes from the greatest to the least."""
        return self.sort.startswith(_DOWN)


@dataclass(frozen=True, slots=True)
class SortOrders:
    """The orders of one list.

    Attributes:
        kind: the list, as its cursors call it.
        own: the list's own key, which no two rows have in common.
        keys: by name, what comes before it; nothing where the own key is the order.
        default: the order where the client names none.
        asked: FastAPI dependency: the page that the client asks for.
    """

    kind: str
    own: tuple[SortKey, ...]
    keys: Mapping[str, tuple[SortKey, ...]]
    default: str
    asked: Callable[..., Coroutine[Any, Any, PageRequest]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the dependency (ValueError for what would be no orders of a list)."""
        if self.default not in self.names:
            raise ValueError(self.default)
        if any(key.nullable for keys in self.keys.values() for key in (keys + self.own)[1:]):
            # Rows are compared with the last one as a whole, where the first key does not decide.
            raise ValueError(self.kind)
        object.__setattr__(self, "asked", _dependency(self))

    @property
    def names(self) -> list[str]:
        """What `sort` may be."""
        return [sort for each in self.keys for sort in (each, f"{_DOWN}{each}")]

    def page[*R](self, statement: Select[*R], asked: PageRequest) -> Select[*R]:
        """Order a statement, and take the rows of a page and one more.

        Raises:
            InvalidError: `invalid_cursor`: it is not one of this list, in this order.
        """
        keys = self._keys(asked)
        if asked.cursor is not None:
            values = self._values(asked, keys)
            statement = statement.where(_beyond(keys, values, descending=asked.descending))
        return statement.order_by(*_ordered(keys, descending=asked.descending)).limit(asked.limit + 1)

    def cut[R](self, rows: Sequence[R], asked: PageRequest) -> tuple[Sequence[R], str | None]:
        """Of what the statement of `page` gave the page's rows, and the next cursor if there is more."""
        return cut_page(rows, asked.limit, partial(self._cursor, asked))

    def sift[R](self, rows: Iterable[R], asked: PageRequest) -> tuple[Sequence[R], str | None]:
        """Return a page of rows in memory and the next cursor, as `page` and `cut_page` do for a table.

        What a cursor holds of a row is compared, in Python's order; each key has to have some of every row.

        Raises:
            InvalidError: `invalid_cursor`: it is not one of this list, in this order.
        """
        keys = self._keys(asked)
        placed = [(tuple(key.write(row) for key in keys), row) for row in rows]
        if asked.cursor is not None:
            last = tuple(self._values(asked, keys))
            placed = [each for each in placed if (each[0] < last if asked.descending else each[0] > last)]
        placed.sort(key=itemgetter(0), reverse=asked.descending)
        return self.cut([row for _, row in placed], asked)

    def _keys(self, asked: PageRequest) -> tuple[SortKey, ...]:
        return self.keys[asked.sort.removeprefix(_DOWN)] + self.own

    def _kind(self, asked: PageRequest) -> str:
        # Those of the default order are as they were when there was no other one.
        return self.kind if asked.sort == self.default else f"{self.kind}:{asked.sort}"

    def _cursor(self, asked: PageRequest, row: object) -> str:
        return encode_cursor(self._kind(asked), *(key.write(row) for key in self._keys(asked)))

    def _values(self, asked: PageRequest, keys: Sequence[SortKey]) -> list[Any]:
        assert asked.cursor is not None  # noqa: S101 (asked of one alone)
        made = read_cursor_kind(asked.cursor)
        if made is not None and made != self._kind(asked) and made.partition(":")[0] == self.kind:
            sort = made.partition(":")[2] or self.default
            # Anybody can make a cursor: what is no order is not shown, for it may be no text at all.
            if sort in self.names:
                raise InvalidError(
                    f"The cursor is of this list in the order `sort={sort}`. Give the same `sort` with it, "
                    "or start again without `cursor`.",
                    code="invalid_cursor",
                )
        return decode_cursor(self._kind(asked), asked.cursor, *(key.read for key in keys))


def _dependency(orders: SortOrders) -> Callable[..., Coroutine[Any, Any, PageRequest]]:
    names = orders.names

    def known(value: str) -> str:
        if value not in names:
            raise CodedValueError("invalid_value", f"One of: {', '.join(names)}")
        return value

    # Asynchronous, though nothing is waited for: FastAPI would run it in a thread.
    async def asked(
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        sort: Annotated[
            str,
            AfterValidator(known),
            Query(description=_ABOUT, json_schema_extra={"enum": list(names)}),
        ] = orders.default,
    ) -> PageRequest:
        return PageRequest(sort, limit, cursor)

    return asked


def _ordered(keys: Sequence[SortKey], *, descending: bool) -> Iterator[ColumnElement[Any]]:
    for key in keys:
        way = key.column.desc() if descending else key.column.asc()
        # Not said where there are none: an index read backwards has them first.
        yield way.nulls_last() if key.nullable else way


def _beyond(keys: Sequence[SortKey], values: Sequence[Any], *, descending: bool) -> ColumnElement[bool]:
    """The condition of rows that come after one with these values."""
    first, value = keys[0], values[0]
    if not first.nullable:
        # Of a whole row at once: an index finds its place by that.
        row = tuple_(*(key.column for key in keys))
        last = tuple_(*(key.bound(each) for key, each in zip(keys, values, strict=True)))
        return row < last if descending else row > last
    tied = _beyond(keys[1:], values[1:], descending=descending)
    if value is None:
        return and_(first.column.is_(None), tied)
    bound = first.bound(value)
    past = first.column < bound if descending else first.column > bound
    return or_(past, and_(first.column == bound, tied), first.column.is_(None))
