"""Compiles expressions of `$filter` and `$orderby` into SQL. All values of a client are parameters.

An expression has a kind, so that a wrong one is an error of the query and never one of the database. Spatial
predicates were evaluated before (`geometry_filters`): here they are sets of boxes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Text,
    and_,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import INTERVAL, TIMESTAMP

from app.platform.kernel.instants import to_datetime
from app.platform.kernel.rejection_codes import format_rejected_value
from app.sensorthings.filter_functions import FUNCTIONS, PERIOD_FUNCTIONS, TypedValue, compare_periods
from app.sensorthings.geometry_filters import PREDICATES, RELATE, parse_geometry, read_predicate
from app.sensorthings.query_tree import (
    Expression,
    FunctionCall,
    Literal,
    Negation,
    Operation,
    PropertyPath,
)
from app.sensorthings.relations import SqlKind, TypedSql, match_keys
from app.standard_apis.query_error import QueryError

_Instant = TIMESTAMP(timezone=True)
type Resolver = Callable[[tuple[str, ...]], TypedSql | None]
"""Returns the SQL of a property by its path; None: the entity type has none such."""

_COMPARE: Final[Mapping[str, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left.is_distinct_from(right),
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
}
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": lambda left, right: left + right,
    "sub": lambda left, right: left - right,
    "mul": lambda left, right: left * right,
    # Without a result instead of an error.
    "div": lambda left, right: left / func.nullif(right, 0),
    "mod": lambda left, right: left - func.nullif(right, 0) * func.trunc(left / func.nullif(right, 0)),
}
_ORDERED: Final[tuple[SqlKind, ...]] = ("number", "text", "bool", "instant")
_NAMES: Final = {
    "number": "a number",
    "text": "a text",
    "bool": "a condition",
    "instant": "a time",
    "duration": "a duration",
    "point": "a place",
    "geo": "a geometry",
    "interval": "a period",
    "date": "a date",
    "clock": "a time of day",
    "json": "an object",
    "null": "null",
}


@dataclass(slots=True)
class FilterCompiler:
    """Compiles expressions on one source.

    Attributes:
        resolve: Returns the SQL of a property.
        places: For each spatial predicate, by its position and name, the boxes that fit.
        coordinates: The longitude and latitude of a place, by the path of the property.
    """

    resolve: Resolver
    places: Mapping[FunctionCall, list[int]] = field(default_factory=dict)
    coordinates: Callable[[tuple[str, ...]], tuple[Any, Any] | None] = field(default=lambda _: None)

    def condition(self, expression: Expression) -> ColumnElement[bool]:
        """Compile a condition (QueryError)."""
        return and_(self._need(expression, "bool").sql)

    def value(self, expression: Expression) -> TypedSql:
        """Compile an expression that has a value to order by (QueryError)."""
        found = self._compile(expression)
        kind = next((each for each in _ORDERED if each == found.kind), None)
        if kind is None:
            raise _wrong(expression, "a number, a text or a time", found.kind)
        return TypedSql(kind, found.sql)

    def _need(self, expression: Expression, kind: str) -> TypedValue:
        found = self._compile(expression)
        if found.kind != kind:
            raise _wrong(expression, _NAMES[kind], found.kind)
        return found

    def _compile(self, expression: Expression) -> TypedValue:  # noqa: PLR0911 (one for each form)
        match expression:
            case Literal():
                return _literal(expression)
            case PropertyPath():
                return self._property(expression)
            case Negation(operand=operand):
                # A comparison with null is false in OData, null in SQL.
                return TypedValue("bool", not_(func.coalesce(self._need(operand, "bool").sql, false())))
            case FunctionCall():
                return self._call(expression)
            case Operation(operator=operator) if operator in {"and", "or"}:
                sides = [self._need(side, "bool").sql for side in (expression.left, expression.right)]
                return TypedValue("bool", and_(*sides) if operator == "and" else or_(*sides))
            case Operation(operator=operator) if operator in _COMPARE:
                return self._comparison(expression)
            case Operation():
                return self._arithmetic(expression)

    def _property(self, path: PropertyPath) -> TypedValue:
        found = self.resolve(path.parts)
        if found is None:
            raise QueryError(
                f"There is no property {format_rejected_value(path.text)} here, or it cannot be compared.",
                code="unknown_property",
                position=path.position,
            )
        return TypedValue(found.kind, found.sql)

    def _comparison(self, operation: Operation) -> TypedValue:
        left, right = self._compile(operation.left), self._compile(operation.right)
        if "null" in {left.kind, right.kind}:
            return self._compare_null(operation, left, right)
        if "interval" in {left.kind, right.kind}:
            return TypedValue("bool", compare_periods(operation, left, right))
        left, right = _align(left, right), _align(right, left)
        if left.kind != right.kind or left.kind in {"point", "geo", "json"}:
            raise QueryError(
                f"{_NAMES[left.kind]} and {_NAMES[right.kind]} cannot be compared by `{operation.operator}`.",
                code="wrong_type",
                position=operation.position,
            )
        return TypedValue("bool", _COMPARE[operation.operator](left.sql, right.sql))

    def _compare_null(self, operation: Operation, left: TypedValue, right: TypedValue) -> TypedValue:
        if operation.operator not in {"eq", "ne"}:
            raise QueryError(
                "null can be compared by `eq` and `ne` only.", code="wrong_type", position=operation.position
            )
        other = right if left.kind == "null" else left
        if other.kind == "null":
            return TypedValue("bool", true() if operation.operator == "eq" else false())
        is_null = other.sql.is_(None)
        return TypedValue("bool", is_null if operation.operator == "eq" else not_(is_null))

    def _arithmetic(self, operation: Operation) -> TypedValue:
        left, right = self._compile(operation.left), self._compile(operation.right)
        sql = _ARITHMETIC[operation.operator]
        kinds = (left.kind, operation.operator, right.kind)
        if left.kind == right.kind == "number":
            return TypedValue("number", sql(cast(left.sql, Double), cast(right.sql, Double)))
        if kinds in {("instant", "add", "duration"), ("instant", "sub", "duration")}:
            return TypedValue("instant", cast(sql(left.sql, right.sql), _Instant))
        if kinds == ("instant", "sub", "instant"):
            return TypedValue("duration", cast(sql(left.sql, right.sql), INTERVAL))
        raise QueryError(
            f"`{operation.operator}` needs two numbers, or a time and a duration such as duration'PT1H'.",
            code="wrong_type",
            position=operation.position,
        )

    def _call(self, call: FunctionCall) -> TypedValue:
        if call.name in PREDICATES or call.name == RELATE:
            return self._predicate(call)
        if call.name in {"geo.distance", "st_distance"}:
            return self._distance(call)
        if call.name in {"geo.length", "st_length"}:
            return self._length(call)
        if call.name in PERIOD_FUNCTIONS:
            given = [self._compile(each) for each in call.arguments]
            return TypedValue("bool", PERIOD_FUNCTIONS[call.name](call, given))
        function = FUNCTIONS.get(call.name)
        if function is None:
            raise QueryError(
                f"There is no function {format_rejected_value(call.name)}.", position=call.position
            )
        if not function.least <= len(call.arguments) <= len(function.kinds):
            raise QueryError(
                f"{call.name} has {len(function.kinds)} arguments, not {len(call.arguments)}.",
                position=call.position,
            )
        arguments = []
        for each, kind in zip(call.arguments, function.kinds, strict=False):
            found = self._compile(each)
            if found.kind not in kind.split("|"):
                raise _wrong(each, " or ".join(_NAMES[name] for name in kind.split("|")), found.kind)
            arguments.append(found.sql)
        return TypedValue(function.result, function.build(*arguments))

    def _predicate(self, call: FunctionCall) -> TypedValue:
        """Compile a spatial predicate: the boxes that fit are known."""
        read_predicate(call)
        path = next(each for each in call.arguments if isinstance(each, PropertyPath))
        place = self._need(path, "point").sql
        if call not in self.places:
            raise QueryError(
                f"{call.name} can be used in the $filter of an entity set only, not in $orderby.",
                code="not_supported",
                position=call.position,
            )
        return TypedValue("bool", match_keys(place, self.places[call]))

    def _distance(self, call: FunctionCall) -> TypedValue:
        """Compile the distance of a place from a geometry, in degrees."""
        paths = [each for each in call.arguments if isinstance(each, PropertyPath)]
        literals = [each for each in call.arguments if isinstance(each, Literal) and each.kind == "geo"]
        if len(call.arguments) != 2 or len(paths) != 1 or len(literals) != 1:  # noqa: PLR2004 (two arguments)
            raise QueryError(
                f"{call.name} needs a place and a geometry.", code="wrong_type", position=call.position
            )
        self._need(paths[0], "point")
        found = self.coordinates(paths[0].parts)
        geometry = parse_geometry(literals[0])
        if found is None or geometry.geom_type != "Point":
            raise QueryError(
                f"{call.name} needs a geometry that is a POINT. For areas use geo.intersects or st_within.",
                code="not_supported",
                position=call.position,
            )
        longitude, latitude = found
        x, y = literal(geometry.x, Double), literal(geometry.y, Double)  # type: ignore[attr-defined] # of a Point
        return TypedValue("number", func.sqrt(func.power(longitude - x, 2) + func.power(latitude - y, 2)))

    def _length(self, call: FunctionCall) -> TypedValue:
        if (
            len(call.arguments) == 1
            and isinstance(given := call.arguments[0], Literal)
            and given.kind == "geo"
        ):
            return TypedValue("number", literal(parse_geometry(given).length, Double))
        if len(call.arguments) == 1:
            self._need(call.arguments[0], "point")
            return TypedValue("number", literal(0.0, Double))
        raise QueryError(f"{call.name} needs one geometry.", code="wrong_type", position=call.position)


def _literal(given: Literal) -> TypedValue:  # noqa: PLR0911 (one for each kind)
    value: Any = given.value
    match given.kind:
        case "number":
            return TypedValue("number", literal(value, Double))
        case "text":
            return TypedValue("text", literal(value, Text))
        case "bool":
            return TypedValue("bool", literal(value, Boolean))
        case "instant":
            return TypedValue("instant", literal(to_datetime(value), _Instant))
        case "duration":
            seconds = func.make_interval(0, 0, 0, 0, 0, 0, literal(value, Double))
            return TypedValue("duration", cast(seconds, INTERVAL))
        case "interval":
            begin, end = (literal(to_datetime(each), _Instant) for each in value)
            return TypedValue("interval", begin, end)
        case "date" | "clock":
            return TypedValue(given.kind, literal(value, Text))
        case _:
            return TypedValue(given.kind, literal(None))


def _align(value: TypedValue, other: TypedValue) -> TypedValue:
    """Return a text as a date or a time of day where it is compared with one: both have their ISO form."""
    if value.kind in {"date", "clock"} and other.kind == "text":
        return TypedValue("text", value.sql)
    return value


def _wrong(expression: Expression, expected: str, kind: str) -> QueryError:
    return QueryError(
        f"{expected} is needed here, not {_NAMES[kind]}.", code="wrong_type", position=expression.position
    )
