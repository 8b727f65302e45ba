"""Defines the functions of `$filter` on texts, numbers, times and periods as SQL.

Texts and positions are those of OData: a position counts from 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Double, Integer, Text, and_, cast, func, literal, or_
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.sensorthings.query_tree import FunctionCall, Operation
from app.standard_apis.query_error import QueryError

_Instant = TIMESTAMP(timezone=True)


class TypedValue(NamedTuple):
    """An SQL expression with its kind; `end` is the end of a period."""

    kind: str
    sql: Any
    end: Any = None


@dataclass(frozen=True, slots=True)
class FilterFunction:
    """A function.

    Attributes:
        kinds: The kinds of its arguments; alternatives are separated by `|`.
        result: The kind of its result.
        build: Builds its SQL.
        least: The least number of arguments.
    """

    kinds: tuple[str, ...]
    result: str
    build: Callable[..., ColumnElement[Any]]
    least: int


def _function(
    kinds: str, result: str, build: Callable[..., ColumnElement[Any]], least: int | None = None
) -> FilterFunction:
    names = tuple(kinds.split())
    return FilterFunction(names, result, build, len(names) if least is None else least)


def _utc(time: Any) -> Any:  # noqa: ANN401 (SQL)
    return func.timezone("UTC", time)


def _part(name: str) -> FilterFunction:
    def build(time: Any) -> ColumnElement[Any]:  # noqa: ANN401 (SQL)
        return cast(func.date_part(name, _utc(time)), Double)

    return _function("instant", "number", build)


def _whole_second(time: Any) -> ColumnElement[Any]:  # noqa: ANN401 (SQL)
    return cast(func.floor(func.date_part("second", _utc(time))), Double)


def _fraction(time: Any) -> ColumnElement[Any]:  # noqa: ANN401 (SQL)
    seconds = func.date_part("second", _utc(time))
    return cast(seconds - func.floor(seconds), Double)


def _format(pattern: str) -> Callable[[Any], ColumnElement[Any]]:
    return lambda time: func.to_char(_utc(time), pattern)


def _substring(text: Any, begin: Any, length: Any = None) -> ColumnElement[Any]:  # noqa: ANN401 (SQL)
    first = cast(func.greatest(begin, literal(0.0, Double)) + 1, Integer)
    if length is None:
        return func.substr(text, first)
    return func.substr(text, first, cast(func.greatest(length, literal(0.0, Double)), Integer))


FUNCTIONS: Final[Mapping[str, FilterFunction]] = {
    "contains": _function("text text", "bool", lambda text, part: func.strpos(text, part) > 0),
    "substringof": _function("text text", "bool", lambda part, text: func.strpos(text, part) > 0),
    "startswith": _function("text text", "bool", func.starts_with),
    "endswith": _function(
        "text text", "bool", lambda text, part: func.right(text, func.length(part)) == part
    ),
    "length": _function("text", "number", lambda text: cast(func.length(text), Double)),
    "indexof": _function("text text", "number", lambda text, part: cast(func.strpos(text, part) - 1, Double)),
    "substring": _function("text number number", "text", _substring, 2),
    "tolower": _function("text", "text", func.lower),
    "toupper": _function("text", "text", func.upper),
    "trim": _function("text", "text", func.btrim),
    "concat": _function(
        "text text", "text", lambda one, other: func.concat(cast(one, Text), cast(other, Text))
    ),
    # Half away from zero, as OData says; PostgreSQL rounds doubles to even.
    "round": _function(
        "number",
        "number",
        lambda number: func.sign(number) * func.floor(func.abs(number) + literal(0.5, Double)),
    ),
    "floor": _function("number", "number", func.floor),
    "ceiling": _function("number", "number", func.ceil),
    "year": _part("year"),
    "month": _part("month"),
    "day": _part("day"),
    "hour": _part("hour"),
    "minute": _part("minute"),
    "second": _function("instant", "number", _whole_second),
    "fractionalseconds": _function("instant", "number", _fraction),
    "date": _function("instant", "date", _format("YYYY-MM-DD")),
    "time": _function("instant", "clock", _format("HH24:MI:SS")),
    "totaloffsetminutes": _function(
        "instant", "number", lambda time: cast(func.extract("timezone_minute", time), Double)
    ),
    "now": _function("", "instant", lambda: cast(func.now(), _Instant)),
    "mindatetime": _function("", "instant", lambda: cast(literal("0001-01-01T00:00:00Z", Text), _Instant)),
    "maxdatetime": _function("", "instant", lambda: cast(literal("9999-12-31T23:59:59Z", Text), _Instant)),
}
"""The functions by name. Times are in UTC."""


def _bounds(value: TypedValue) -> tuple[Any, Any]:
    """Return begin and end of a period; those of an instant are the same."""
    return value.sql, value.sql if value.end is None else value.end


def _period(
    build: Callable[[Any, Any, Any, Any], ColumnElement[bool]],
) -> Callable[[FunctionCall, Sequence[TypedValue]], ColumnElement[bool]]:
    def compiled(call: FunctionCall, given: Sequence[TypedValue]) -> ColumnElement[bool]:
        if len(given) != 2 or any(each.kind not in {"instant", "interval"} for each in given):  # noqa: PLR2004 (two)
            raise QueryError(
                f"{call.name} compares two times or periods, "
                "such as 2026-11-24T10:00:00Z/2026-11-24T11:00:00Z.",
                code="wrong_type",
                position=call.position,
            )
        return build(*_bounds(given[0]), *_bounds(given[1]))

    return compiled


PERIOD_FUNCTIONS: Final[Mapping[str, Callable[[FunctionCall, Sequence[TypedValue]], ColumnElement[bool]]]] = {
    "before": _period(lambda _, end, begin2, __: end < begin2),
    "after": _period(lambda begin, _, __, end2: begin > end2),
    "meets": _period(lambda begin, end, begin2, end2: or_(end == begin2, begin == end2)),
    "during": _period(lambda begin, end, begin2, end2: and_(begin >= begin2, end <= end2)),
    "overlaps": _period(lambda begin, end, begin2, end2: and_(begin <= end2, end >= begin2)),
    "starts": _period(lambda begin, end, begin2, end2: and_(begin == begin2, end <= end2)),
    "finishes": _period(lambda begin, end, begin2, end2: and_(end == end2, begin >= begin2)),
}
"""Comparisons of two periods; an instant is a period without length."""


def compare_periods(operation: Operation, left: TypedValue, right: TypedValue) -> ColumnElement[bool]:
    """Compile a comparison of which at least one side is a period: earlier and later mean wholly so."""
    if {left.kind, right.kind} - {"instant", "interval"}:
        raise QueryError(
            "A period can be compared with a time or a period only.",
            code="wrong_type",
            position=operation.position,
        )
    (begin, end), (begin2, end2) = _bounds(left), _bounds(right)
    match operation.operator:
        case "lt":
            return and_(end <= begin2, begin < begin2)
        case "gt":
            return and_(begin >= end2, end > end2)
        case "le":
            return and_(end <= end2)
        case "ge":
            return and_(begin >= begin2)
        case "ne":
            return or_(begin != begin2, end != end2)
        case _:
            return and_(begin == begin2, end == end2)
