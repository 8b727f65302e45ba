"""Parses `$filter`, `$orderby`, `$select` and `$expand`. Pure.

Lark builds the parser from the grammar below. It is LALR(1): its time is linear in the length of the text,
and it reports the position of a fault.
"""

import re
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedEOF, UnexpectedInput, VisitError

from app.platform.kernel.instants import parse_iso_duration, parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
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
from app.standard_apis.query_error import QueryError

LONGEST_TEXT: Final = 8_000
"""The longest text of an option (characters)."""
MOST_ORDER_ITEMS: Final = 10
"""The most expressions of an order. The condition of the next page grows by their square."""
_DEEPEST: Final = 40
GRAMMAR: Final = r"""
filter: expression
orderby: order_item ("," order_item)*
select: select_item ("," select_item)*
expand: expand_item ("," expand_item)*

order_item: expression [DIRECTION]
select_item: NAME ("/" NAME)*
expand_item: NAME ("/" NAME)* ["(" expand_option (";" expand_option)* ")"]
?expand_option: "$filter" "=" expression -> filter_option
    | "$orderby" "=" orderby -> orderby_option
    | "$select" "=" select -> select_option
    | "$expand" "=" expand -> expand_option
    | "$top" "=" NUMBER -> top_option
    | "$skip" "=" NUMBER -> skip_option
    | "$count" "=" BOOL -> count_option

?expression: conjunction | expression OR conjunction -> operation
?conjunction: inverse | conjunction AND inverse -> operation
?inverse: comparison | NOT inverse -> negation
?comparison: sum | sum COMPARE sum -> operation
?sum: product | sum ADD product -> operation
?product: operand | product MULTIPLY operand -> operation
?operand: literal | path | call | "(" expression ")"
path: NAME ("/" NAME)*
call: FUNCTION "(" [expression ("," expression)*] ")"
literal: STRING | INTERVAL | INSTANT | DATE | CLOCK | NUMBER | BOOL | NULL | GEO | DURATION

OR: /or\b/
AND: /and\b/
NOT.5: /not\b/
COMPARE: /(eq|ne|gt|ge|lt|le)\b/
ADD: /(add|sub)\b/
MULTIPLY: /(mul|div|mod)\b/
DIRECTION: /(asc|desc)\b/
GEO.6: /(geography|geometry)'[^']*'/
DURATION.6: /duration'[^']*'/
FUNCTION.4: /[a-z_]+(\.[a-z_]+)?(?=\s*\()/
BOOL.3: /(true|false)\b/
NULL.3: /null\b/
NAME: /(@iot\.)?[A-Za-z_][A-Za-z0-9_]*/
STRING: /'(?:''|[^'])*'/
INSTANT.8: /\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})/
INTERVAL.9: /\d{4}-\d{2}-\d{2}T[0-9:.]+(Z|[+-]\d{2}:\d{2})\/\d{4}-\d{2}-\d{2}T[0-9:.]+(Z|[+-]\d{2}:\d{2})/
DATE.7: /\d{4}-\d{2}-\d{2}(?!\d|T)/
CLOCK.7: /\d{2}:\d{2}:\d{2}(\.\d+)?/
NUMBER.2: /-?\d+(\.\d+)?([eE][+-]?\d+)?/
%import common.WS
%ignore WS
"""
_STARTS: Final = {"$filter": "filter", "$orderby": "orderby", "$select": "select", "$expand": "expand"}
_EXPECTED: Final = {
    "COMPARE": "a comparison (eq, ne, gt, ge, lt, le)",
    "NAME": "a property",
    "STRING": "a text in single quotes",
    "NUMBER": "a number",
    "AND": "`and`",
    "OR": "`or`",
    "RPAR": "`)`",
    "LPAR": "`(`",
    "COMMA": "`,`",
    "$END": "the end",
}


def _instant(token: str) -> int:
    # RFC 3339 requires seconds, ISO 8601 does not.
    text = re.sub(r"(T\d{2}:\d{2})(?=Z|[+-])", r"\1:00", token)
    return parse_rfc3339(text)


def _literal_value(token: Token) -> Literal:  # noqa: PLR0911 (one for each kind)
    text, at = str(token), int(token.start_pos or 0)
    match token.type:
        case "STRING":
            return Literal("text", text[1:-1].replace("''", "'"), at)
        case "NUMBER":
            return Literal("number", float(text), at)
        case "BOOL":
            return Literal("bool", text == "true", at)
        case "NULL":
            return Literal("null", None, at)
        case "INSTANT":
            return Literal("instant", _instant(text), at)
        case "INTERVAL":
            begin, _, end = text.partition("/")
            return Literal("interval", (_instant(begin), _instant(end)), at)
        case "DATE":
            return Literal("date", text, at)
        case "CLOCK":
            return Literal("clock", text, at)
        case "DURATION":
            return Literal("duration", parse_iso_duration(text[len("duration'") : -1]), at)
        case _:
            return Literal("geo", text[text.index("'") + 1 : -1], at)


def _position(part: Any) -> int:  # noqa: ANN401 (any part of a tree)
    return part.position if hasattr(part, "position") else int(part.start_pos or 0)


class _Builder(Transformer[Token, Any]):
    """Builds the parsed form from the parser's tree."""

    @v_args(inline=True)
    def literal(self, token: Token) -> Literal:
        return _literal_value(token)

    def path(self, names: list[Token]) -> PropertyPath:
        return PropertyPath(tuple(_property_name(name) for name in names), int(names[0].start_pos or 0))

    def call(self, parts: list[Any]) -> FunctionCall:
        name, *arguments = parts
        given = tuple(each for each in arguments if each is not None)
        return FunctionCall(str(name), given, int(name.start_pos or 0))

    @v_args(inline=True)
    def operation(self, left: Expression, operator: Token, right: Expression) -> Operation:
        return Operation(str(operator), left, right, int(operator.start_pos or 0))

    @v_args(inline=True)
    def negation(self, word: Token, operand: Expression) -> Negation:
        return Negation(operand, int(word.start_pos or 0))

    @v_args(inline=True)
    def filter(self, expression: Expression) -> Expression:
        return expression

    def order_item(self, parts: list[Any]) -> OrderItem:
        return OrderItem(parts[0], parts[1] is not None and str(parts[1]) == "desc")

    def orderby(self, items: list[OrderItem]) -> tuple[OrderItem, ...]:
        if len(items) > MOST_ORDER_ITEMS:
            raise QueryError(
                f"$orderby can have {MOST_ORDER_ITEMS} expressions at most.", code="query_too_large"
            )
        return tuple(items)

    def select_item(self, names: list[Token]) -> str:
        return "/".join(_property_name(name) for name in names)

    def select(self, names: list[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    def filter_option(self, parts: list[Any]) -> tuple[str, Any]:
        return "filter", parts[0]

    def orderby_option(self, parts: list[Any]) -> tuple[str, Any]:
        return "orderby", parts[0]

    def select_option(self, parts: list[Any]) -> tuple[str, Any]:
        return "select", parts[0]

    def expand_option(self, parts: list[Any]) -> tuple[str, Any]:
        return "expand", parts[0]

    def top_option(self, parts: list[Token]) -> tuple[str, Any]:
        return "top", parse_count("$top", str(parts[0]))

    def skip_option(self, parts: list[Token]) -> tuple[str, Any]:
        return "skip", parse_count("$skip", str(parts[0]))

    def count_option(self, parts: list[Token]) -> tuple[str, Any]:
        return "count", str(parts[0]) == "true"

    def expand_item(self, parts: list[Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
        names = tuple(str(part) for part in parts if isinstance(part, Token))
        options = [part for part in parts if isinstance(part, tuple)]
        return names, dict(options)

    def expand(self, items: list[tuple[tuple[str, ...], dict[str, Any]]]) -> dict[str, QueryOptions]:
        found: dict[str, QueryOptions] = {}
        for (first, *others), options in items:
            # `A/B` is `A($expand=B)`; several paths that begin alike are merged.
            made = QueryOptions(**options)
            for name in reversed(others):
                made = QueryOptions(expand={name: made})
            found[first] = _merge(found[first], made) if first in found else made
        return found


def _merge(one: QueryOptions, other: QueryOptions) -> QueryOptions:
    expand = dict(one.expand)
    for name, options in other.expand.items():
        expand[name] = _merge(expand[name], options) if name in expand else options
    own = other if other.select or other.filter or other.orderby or other.top is not None else one
    return QueryOptions(
        own.filter, own.select, expand, own.orderby, own.top, own.skip, one.count or other.count
    )


def _property_name(token: Token) -> str:
    """Return the name of a property: `@iot.id` is `id`."""
    return str(token).removeprefix("@iot.")


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", start=list(_STARTS.values()), maybe_placeholders=True)


def parse_count(option: str, text: str) -> int:
    """Parse a number of entities (QueryError)."""
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_COUNT:
        raise QueryError(
            f"{option} has to be a whole number from 0, not {format_rejected_value(text)}.",
            code="invalid_option",
            option=option,
        )
    return int(text)


_LONGEST_COUNT: Final = 9


def parse_option(option: str, text: str) -> Any:  # noqa: ANN401 (each option has its own form)
    """Parse the text of an option.

    Args:
        option: `$filter`, `$orderby`, `$select` or `$expand`.
        text: its value.

    Returns:
        An expression, a tuple of order items, a tuple of names, or the options of each expansion.

    Raises:
        QueryError: The text has a fault; the error names its position.
    """
    if len(text) > LONGEST_TEXT:
        raise QueryError(f"{option} is longer than {LONGEST_TEXT} characters.", option=option)
    if "\0" in text:
        raise QueryError(f"{option} cannot have the character NUL.", option=option, position=text.index("\0"))
    _check_depth(option, text)
    try:
        return _Builder().transform(_parser().parse(text, start=_STARTS[option]))
    except UnexpectedInput as error:
        raise _fault(option, text, error) from None
    except VisitError as error:
        cause = error.orig_exc
        if isinstance(cause, RejectedError):
            raise QueryError(f"{option}: {cause.detail}.", option=option) from None
        if isinstance(cause, QueryError):
            raise cause.of_option(option) from None
        raise


def _check_depth(option: str, text: str) -> None:
    """Refuse deep nesting: expressions are compiled recursively."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth > _DEEPEST:
            raise QueryError(
                f"{option} has more than {_DEEPEST} nested parentheses.", option=option, position=position
            )
    if len(re.findall(r"\b(?:not|and|or|add|sub|mul|div|mod)\b", text)) > _MOST_OPERATORS:
        raise QueryError(f"{option} has more than {_MOST_OPERATORS} operators.", option=option)


_MOST_OPERATORS: Final = 200


def _fault(option: str, text: str, error: UnexpectedInput) -> QueryError:
    at_end = isinstance(error, UnexpectedEOF) or getattr(getattr(error, "token", None), "type", "") == "$END"
    position = len(text) if at_end else int(getattr(error, "pos_in_stream", None) or 0)
    names = (
        getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None)
    )
    expected = sorted({_EXPECTED[name] for name in names or () if name in _EXPECTED})
    found = "the end" if position >= len(text) else format_rejected_value(text[position : position + 20])
    hint = f" Expected {' or '.join(expected)}." if expected else ""
    return QueryError(
        f"{option} cannot be read at position {position}, at {found}.{hint}", option=option, position=position
    )
