"""The grammar of query options: what it reads, and where it says that a fault is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sensorthings.query_grammar import parse_option
from app.sensorthings.query_text import format_expression
from app.sensorthings.query_tree import (
    Expression,
    FunctionCall,
    Literal,
    Negation,
    Operation,
    PropertyPath,
)
from app.standard_apis.query_error import QueryError


def test_and_binds_tighter_than_or_and_not_than_and() -> None:
    parsed = parse_option("$filter", "a eq 1 or b eq 2 and not (c eq 3)")
    assert format_expression(parsed) == "a eq 1 or b eq 2 and not (c eq 3)"


def test_products_bind_tighter_than_sums() -> None:
    parsed = parse_option("$filter", "a add b mul 2 sub c gt 5 div 2")
    assert format_expression(parsed) == "((a add (b mul 2)) sub c) gt (5 div 2)"


@pytest.mark.parametrize(
    "text",
    [
        *("name eq 'it''s'", "result gt -1.5e-3", "phenomenonTime ge 2026-11-24T10:00:00Z", "x eq null"),
        "during(phenomenonTime,2026-11-24T10:00:00Z/2026-11-24T11:00:00Z)",
        "geo.intersects(location,geography'POINT (1 2)')",
        "phenomenonTime gt now() sub duration'PT90S'",
        "Datastream/Thing/properties/box eq 'b' and order eq 'android' and notable eq true",
    ],
)
def test_an_expression_reads_as_it_was_written(text: str) -> None:
    parsed = parse_option("$filter", text)
    assert format_expression(parse_option("$filter", format_expression(parsed))) == format_expression(parsed)


type Tree = tuple[object, ...]

_TEXTS = st.sampled_from(["a eq 1", "b gt 2", "x add 1 mul 2 lt 3"])
_CONDITIONS = st.recursive(
    _TEXTS,
    lambda inner: st.one_of(
        st.builds("({}) and ({})".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("{} and {}".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=20,
)


def shape(expression: Expression) -> Tree:
    """An expression without its positions."""
    match expression:
        case Operation():
            return (expression.operator, shape(expression.left), shape(expression.right))
        case Negation():
            return ("not", shape(expression.operand))
        case Literal():
            return (expression.kind, expression.value)
        case PropertyPath():
            return expression.parts
        case FunctionCall():
            return (expression.name, *map(shape, expression.arguments))


@given(_CONDITIONS)
def test_what_is_written_is_read_the_same_and_not_deeper(text: str) -> None:
    parsed = parse_option("$filter", text)
    written = format_expression(parsed)
    assert shape(parse_option("$filter", written)) == shape(parsed)
    assert depth(written) <= depth(text) + 2, "but for those of arithmetic, which are always written"


def depth(text: str) -> int:
    return max(itertools.accumulate((each == "(") - (each == ")") for each in text))


def test_a_long_chain_has_no_parentheses() -> None:
    text = " or ".join(f"a eq {number} and b eq 1" for number in range(100))
    assert format_expression(parse_option("$filter", text)) == text


def test_ids_have_two_names() -> None:
    assert parse_option("$filter", "@iot.id eq '1'").left == PropertyPath(("id",), 0)
    assert parse_option("$select", "@iot.id,name") == ("id", "name")


def test_instants_may_lack_seconds_and_have_offsets() -> None:
    parsed = parse_option("$filter", "t eq 2026-11-24T10:00+01:00")
    assert parsed.right == Literal("instant", 1_795_510_800_000_000, 5)


def test_paths_in_expansions_are_merged() -> None:
    found = parse_option("$expand", "Datastreams/Sensor,Datastreams/ObservedProperty,Locations($top=2)")
    assert set(found) == {"Datastreams", "Locations"}
    assert set(found["Datastreams"].expand) == {"Sensor", "ObservedProperty"}
    assert found["Locations"].top == 2


@pytest.mark.parametrize(
    ("option", "text", "position"),
    [
        ("$filter", "name eq", 7),
        ("$filter", "name xx 'a'", 5),
        ("$filter", "name eq 'a", 8),
        ("$filter", "(name eq 'a'", 12),
        ("$orderby", "name up", 5),
        ("$expand", "Datastreams($top=x)", 17),
        ("$select", "a,,b", 2),
    ],
)
def test_a_fault_has_a_position(option: str, text: str, position: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_option(option, text)
    assert caught.value.extra == {"option": option, "position": position}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    codes = set()
    for option in ("$filter", "$orderby", "$select", "$expand"):
        try:
            parse_option(option, text)
        except QueryError as error:
            codes.add((error.status, error.extra["option"] == option))
    assert codes <= {(400, True)}


def test_long_and_deep_texts_are_refused() -> None:
    for text in ("(" * 50 + "1" + ")" * 50, "a eq 1 or " * 300 + "b eq 2", "x" * 9_000):
        with pytest.raises(QueryError):
            parse_option("$filter", text)


def test_comparisons_are_operations() -> None:
    parsed = parse_option("$filter", "a lt 2")
    assert parsed == Operation("lt", PropertyPath(("a",), 0), Literal("number", 2.0, 5), 2)
