"""Sorts and paginates lists in an order that the client chooses: `sort=name`, `sort=-created_at`.

Each list has a closed set of orders, each of them total: the list's own key breaks ties, in the same
direction. Rows without a value come last in either direction. A page continues after the values in its cursor
(`app.platform.http.contract.pagination`), so that no row is missed or shown twice while rows are inserted. A
cursor belongs to one order.

    SITES = SortOrders(
        "sites",
        (uuid_sort_key(Site.id),),
        {"created_at": (), "name": (name_sort_key(Site.name),)},
        "created_at",
    )
    SitesPage = Annotated[PageRequest, Depends(SITES.page_request)]
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
"""The collation of names: `é` sorts next to `e`, and case makes no difference."""

_BIGINT_MAX: Final = 2**62
_INTEGER_MAX: Final = 2**31 - 1
_DESCENDING: Final = "-"
_ABOUT: Final = (
    "The order of rows; `-` reverses it. Ties are in the order of creation or of ids, and rows without a "
    "value come last in either direction"
)


@dataclass(frozen=True, slots=True)
class SortKey:
    """A key that rows are sorted by.

    Attributes:
        column: its SQL expression.
        write: returns a row's value for a cursor, as JSON.
        read: parses that value (ValueError, TypeError for one that no row can have).
        nullable: whether rows may have no value.
    """

    column: ColumnElement[Any]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    nullable: bool = False

    def bound(self, value: object) -> ColumnElement[Any]:
        """Return a value as a literal to compare the column with."""
        return literal(value, self.column.type)


def uuid_sort_key(column: Any, of: Callable[[Any], Any] | None = None) -> SortKey:  # noqa: ANN401 (a mapped column)
    """Sort by a UUID. `of` reads it from a row; by default it is the row's attribute."""
    value = of or attrgetter(column.key)
    return SortKey(column.expression, lambda row: str(value(row)), UUID)


def instant_sort_key(
    column: Any,  # noqa: ANN401 (a mapped column)
    of: Callable[[Any], Any] | None = None,
    *,
    nullable: bool = False,
) -> SortKey:
    """Sort by a time; the parameters are those of `uuid_sort_key`."""
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
    """Sort by a text by code point, for ids and addresses. `read` validates it in a cursor."""
    return SortKey(column.expression, of or attrgetter(column.key), read or parse_cursor_text)


def name_sort_key(column: Any, of: Callable[[Any], Any] | None = None, *, nullable: bool = False) -> SortKey:  # noqa: ANN401 (a mapped column)
    """Sort by a name, in the order that people expect."""
    read = _optional(parse_cursor_text) if nullable else parse_cursor_text
    return SortKey(collate(column.expression, NAME_COLLATION), of or attrgetter(column.key), read, nullable)


def number_sort_key(
    column: ColumnElement[Any], of: Callable[[Any], Any], *, nullable: bool = False
) -> SortKey:
    """Sort by a number; for an integer column, by one within its range."""
    read: Callable[[Any], Any] = _number
    if isinstance(column.type, Integer):
        read = partial(_whole, _BIGINT_MAX if isinstance(column.type, BigInteger) else _INTEGER_MAX)
    return SortKey(column, of, _optional(read) if nullable else read, nullable)


def parse_cursor_text(value: object) -> str:
    """Parse a text of a cursor; one that PostgreSQL cannot store raises ValueError."""
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
    # In Python true and false are numbers.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -_BIGINT_MAX < value < _BIGINT_MAX
    ):
        raise ValueError(value)
    return value


def _whole(largest: int, value: object) -> int:
    # The database would reject a larger number as an internal error.
    if isinstance(value, bool) or not isinstance(value, int) or not -largest <= value <= largest:
        raise ValueError(value)
    return value


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page of a list that a client requests.

    Attributes:
        sort: one of the list's orders.
        limit: number of rows.
        cursor: the `next` of the previous page; None for the first one.
    """

    sort: str
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    @property
    def descending(self) -> bool:
        """Whether rows are sorted from the greatest to the least."""
        return self.sort.startswith(_DESCENDING)


# Compared by identity, as a key of caches.
@dataclass(frozen=True, slots=True, eq=False)
class SortOrders:
    """The orders of one list.

    Attributes:
        kind: the list's name in its cursors.
        own: the list's unique key.
        keys: by name, the keys that precede the own key; none where the own key alone is the order.
        default: the order where the client requests none.
        page_request: FastAPI dependency: the requested page.
    """

    kind: str
    own: tuple[SortKey, ...]
    keys: Mapping[str, tuple[SortKey, ...]]
    default: str
    page_request: Callable[..., Coroutine[Any, Any, PageRequest]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the dependency (ValueError for orders that are not valid)."""
        if self.default not in self.names:
            raise ValueError(self.default)
        if any(key.nullable for keys in self.keys.values() for key in (keys + self.own)[1:]):
            # Rows are compared as tuples where the first key ties, and NULL breaks tuple comparison.
            raise ValueError(self.kind)
        object.__setattr__(self, "page_request", _dependency(self))

    @property
    def names(self) -> list[str]:
        """The values of `sort`."""
        return [sort for each in self.keys for sort in (each, f"{_DESCENDING}{each}")]

    def page[*R](self, statement: Select[*R], request: PageRequest) -> Select[*R]:
        """Order a statement, and limit it to the rows of a page and one more.

        Raises:
            InvalidError: `invalid_cursor`: it does not belong to this list in this order.
        """
        keys = self._keys(request)
        if request.cursor is not None:
            values = self._values(request, keys)
            statement = statement.where(_beyond(keys, values, descending=request.descending))
        return statement.order_by(*_ordered(keys, descending=request.descending)).limit(request.limit + 1)

    def cut[R](self, rows: Sequence[R], request: PageRequest) -> tuple[Sequence[R], str | None]:
        """Split the rows of `page`'s statement: the page's rows, and the next cursor if there is more."""
        return cut_page(rows, request.limit, partial(self._cursor, request))

    def sift[R](self, rows: Iterable[R], request: PageRequest) -> tuple[Sequence[R], str | None]:
        """Return a page of rows in memory and the next cursor, as `page` and `cut_page` do for a table.

        Compares cursor values in Python's order; every row must have a value for each key.

        Raises:
            InvalidError: `invalid_cursor`: it does not belong to this list in this order.
        """
        keys = self._keys(request)
        keyed = [(tuple(key.write(row) for key in keys), row) for row in rows]
        if request.cursor is not None:
            last = tuple(self._values(request, keys))
            keyed = [each for each in keyed if (each[0] < last if request.descending else each[0] > last)]
        keyed.sort(key=itemgetter(0), reverse=request.descending)
        return self.cut([row for _, row in keyed], request)

    def _keys(self, request: PageRequest) -> tuple[SortKey, ...]:
        return self.keys[request.sort.removeprefix(_DESCENDING)] + self.own

    def _kind(self, request: PageRequest) -> str:
        # Cursors of the default order have no suffix, as before there were other orders.
        return self.kind if request.sort == self.default else f"{self.kind}:{request.sort}"

    def _cursor(self, request: PageRequest, row: object) -> str:
        return encode_cursor(self._kind(request), *(key.write(row) for key in self._keys(request)))

    def _values(self, request: PageRequest, keys: Sequence[SortKey]) -> list[Any]:
        assert request.cursor is not None  # noqa: S101 (for a page with a cursor)
        kind = read_cursor_kind(request.cursor)
        if kind is not None and kind != self._kind(request) and kind.partition(":")[0] == self.kind:
            sort = kind.partition(":")[2] or self.default
            # Clients can forge cursors: an unknown order is not quoted, as it may be anything.
            if sort in self.names:
                raise InvalidError(
                    f"The cursor belongs to the order `sort={sort}`. Send the same `sort` with it, "
                    "or start again without `cursor`.",
                    code="invalid_cursor",
                )
        return decode_cursor(self._kind(request), request.cursor, *(key.read for key in keys))


def _dependency(orders: SortOrders) -> Callable[..., Coroutine[Any, Any, PageRequest]]:
    names = orders.names

    def known(value: str) -> str:
        if value not in names:
            raise CodedValueError("invalid_value", f"One of: {', '.join(names)}")
        return value

    # Asynchronous although it does not wait: FastAPI would run it in a thread.
    async def page_request(
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
        sort: Annotated[
            str,
            AfterValidator(known),
            Query(description=_ABOUT, json_schema_extra={"enum": list(names)}),
        ] = orders.default,
    ) -> PageRequest:
        return PageRequest(sort, limit, cursor)

    return page_request


def _ordered(keys: Sequence[SortKey], *, descending: bool) -> Iterator[ColumnElement[Any]]:
    for key in keys:
        direction = key.column.desc() if descending else key.column.asc()
        # Only for nullable keys: an index that is read backwards returns NULLs first.
        yield direction.nulls_last() if key.nullable else direction


def _beyond(keys: Sequence[SortKey], values: Sequence[Any], *, descending: bool) -> ColumnElement[bool]:
    """Return the condition of rows that come after a row with these values."""
    first, value = keys[0], values[0]
    if not first.nullable:
        # Compares tuples, which an index can seek to.
        row = tuple_(*(key.column for key in keys))
        last = tuple_(*(key.bound(each) for key, each in zip(keys, values, strict=True)))
        return row < last if descending else row > last
    tied = _beyond(keys[1:], values[1:], descending=descending)
    if value is None:
        return and_(first.column.is_(None), tied)
    bound = first.bound(value)
    past = first.column < bound if descending else first.column > bound
    return or_(past, and_(first.column == bound, tied), first.column.is_(None))
