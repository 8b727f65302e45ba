"""Writes parsed query options as text again, for links to the next page of an expansion. Pure."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from app.platform.kernel.instants import format_us
from app.sensorthings.query_tree import (
    Expression,
    FunctionCall,
    Literal,
    Negation,
    Operation,
    OrderItem,
    PropertyPath,
    QueryOptions,
)

_SAFE: Final = "$=&,;()/':-_.~"
_PRECEDENCE: Final = {"or": 1, "and": 2}
_HIGHEST: Final = 3  # comparisons and arithmetic, which are always in parentheses in each other


def format_expression(expression: Expression) -> str:
    """Return the text of an expression."""
    match expression:
        case Literal():
            return _literal(expression)
        case PropertyPath():
            return expression.text
        case FunctionCall(name=name, arguments=arguments):
            return f"{name}({','.join(map(format_expression, arguments))})"
        case Negation(operand=operand):
            return f"not ({format_expression(operand)})"
        case Operation():
            return f"{_side(expression, 0)} {expression.operator} {_side(expression, 1)}"


def _side(operation: Operation, place: int) -> str:
    """Return a side of an operation, in parentheses where the grammar would read it differently.

    A chain has none: it would have more nested ones than a query may have.
    """
    side = (operation.left, operation.right)[place]
    text = format_expression(side)
    if not isinstance(side, Operation):
        return text
    inner, outer = (_PRECEDENCE.get(each.operator, _HIGHEST) for each in (side, operation))
    is_plain = inner > outer or (inner == outer < _HIGHEST and place == 0)
    return text if is_plain else f"({text})"


def _literal(given: Literal) -> str:  # noqa: PLR0911 (one for each kind)
    value: Any = given.value
    match given.kind:
        case "text":
            return f"'{str(value).replace("'", "''")}'"
        case "number":
            return f"{value:.17g}"
        case "bool":
            return str(value).lower()
        case "null":
            return "null"
        case "instant":
            return format_us(value)
        case "interval":
            return "/".join(map(format_us, value))
        case "duration":
            return f"duration'PT{value:.6f}S'"
        case "geo":
            return f"geography'{value}'"
        case _:
            return str(value)


def _order(items: Sequence[OrderItem]) -> str:
    return ",".join(
        format_expression(item.expression) + (" desc" if item.descending else "") for item in items
    )


def format_options(options: QueryOptions, token: str | None = None) -> list[tuple[str, str]]:
    """Return the names and texts of options, with a `$skipToken` instead of `$skip` if there is one."""
    pairs: list[tuple[str, str]] = []
    if options.filter is not None:
        pairs.append(("$filter", format_expression(options.filter)))
    if options.select is not None:
        pairs.append(("$select", ",".join(options.select)))
    if options.expand:
        pairs.append(("$expand", _expand(options.expand)))
    if options.orderby:
        pairs.append(("$orderby", _order(options.orderby)))
    if options.top is not None:
        pairs.append(("$top", str(options.top)))
    if options.count:
        pairs.append(("$count", "true"))
    if token is not None:
        pairs.append(("$skipToken", token))
    elif options.skip:
        pairs.append(("$skip", str(options.skip)))
    return pairs


def _expand(expand: dict[str, QueryOptions]) -> str:
    found = []
    for name, options in expand.items():
        inner = ";".join(f"{key}={value}" for key, value in format_options(options))
        found.append(f"{name}({inner})" if inner else name)
    return ",".join(found)


def format_query(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the query of an address."""
    return "&".join(f"{name}={quote(value, safe=_SAFE.replace('&', ''))}" for name, value in pairs)
