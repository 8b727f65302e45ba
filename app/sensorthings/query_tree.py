"""Defines the parsed form of query options: expressions, orders and expansions. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal as OneOf

type LiteralKind = OneOf[
    "number", "text", "bool", "null", "instant", "interval", "date", "clock", "duration", "geo"
]


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. `value` is a float, a text, a bool, None, µs since the epoch, or a pair of these."""

    kind: LiteralKind
    value: object
    position: int


@dataclass(frozen=True, slots=True)
class PropertyPath:
    """A property, with the navigation links or the members that lead to it."""

    parts: tuple[str, ...]
    position: int

    @property
    def text(self) -> str:
        """The path as it was written."""
        return "/".join(self.parts)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of a function."""

    name: str
    arguments: tuple["Expression", ...]
    position: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator between two expressions: `and`, `or`, a comparison, or arithmetic."""

    operator: str
    left: "Expression"
    right: "Expression"
    position: int


@dataclass(frozen=True, slots=True)
class Negation:
    """`not` before an expression."""

    operand: "Expression"
    position: int


type Expression = Literal | PropertyPath | FunctionCall | Operation | Negation


@dataclass(frozen=True, slots=True)
class OrderItem:
    """An expression of `$orderby`."""

    expression: Expression
    descending: bool = False


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The query options of a collection or an entity, or of an expansion.

    Attributes:
        filter: `$filter`; None: all entities.
        select: `$select`; None: all properties. Members of objects are paths.
        expand: `$expand`, by navigation link.
        orderby: `$orderby`.
        top: `$top`; None: the default.
        skip: `$skip`.
        count: `$count`.
        skip_token: `$skipToken`.
        result_format: `$resultFormat`, in lower case; None: JSON.
    """

    filter: Expression | None = None
    select: tuple[str, ...] | None = None
    expand: dict[str, "QueryOptions"] = field(default_factory=dict)
    orderby: tuple[OrderItem, ...] = ()
    top: int | None = None
    skip: int = 0
    count: bool = False
    skip_token: str | None = None
    result_format: str | None = None

    def selects(self, name: str) -> bool:
        """Return whether a property or a navigation link belongs to the result."""
        return self.select is None or any(each.split("/", 1)[0] == name for each in self.select)


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all its parts."""
    yield expression
    match expression:
        case FunctionCall(arguments=parts):
            for part in parts:
                yield from walk(part)
        case Operation(left=left, right=right):
            yield from walk(left)
            yield from walk(right)
        case Negation(operand=operand):
            yield from walk(operand)


def split_conjunction(expression: Expression | None) -> list[Expression]:
    """Split an expression at its outermost `and`s."""
    if expression is None:
        return []
    if isinstance(expression, Operation) and expression.operator == "and":
        return [*split_conjunction(expression.left), *split_conjunction(expression.right)]
    return [expression]


def join_conjunction(parts: list[Expression]) -> Expression | None:
    """Join expressions by `and`; None without any."""
    found: Expression | None = None
    for part in parts:
        found = part if found is None else Operation("and", found, part, part.position)
    return found
