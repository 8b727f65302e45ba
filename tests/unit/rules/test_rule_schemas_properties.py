"""Any condition that is valid is stored as it is and read back the same; any other input is refused."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.catalogue.metrics import CATALOGUE
from app.platform.http.contract.problems import get_field_error_code
from app.platform.kernel.ids import new_id
from app.rules.definitions.condition_leaves import UPWARD
from app.rules.definitions.condition_trees import DEPTH_LIMIT, NODES_LIMIT, iterate_parts
from app.rules.definitions.schemas import RuleDefinition
from app.rules.engine.rule_compiler import compile_rule

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
DURATIONS = st.sampled_from(["PT1S", "PT90.5S", "PT15M", "P1DT2H", "P7D"])
BOXES = st.sampled_from(["box-1", "box_2", "B"])
WORDS = st.sampled_from(["pistol", "glock-17", "Hé"])
LEVELS = [metric.name for metric in CATALOGUE if metric.kind == "level"]
GAUGES = [metric.name for metric in CATALOGUE if metric.kind != "level"]
SCOPES = st.dictionaries(
    st.sampled_from(["boxes", "kinds", "tags"]),
    st.lists(st.sampled_from(["a", "b1"]), min_size=1),
    min_size=1,
)


def attributes(draw: st.DrawFn) -> dict[str, Any]:
    default = {"default": draw(NUMBERS)} if draw(st.booleans()) else {}
    return {"attribute": draw(st.sampled_from(["limit", "night_limit"])), **default}


def maybe(draw: st.DrawFn, **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    return {name.rstrip("_"): draw(values) for name, values in fields.items() if draw(st.booleans())}


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    function = draw(
        st.sampled_from(
            [None, "mean", "min", "max", "sum", "percentile", "energy_mean", "rate", "spread", "count"]
        )
    )
    choice = (
        GAUGES if function in {"mean", "sum"} else LEVELS if function == "energy_mean" else GAUGES + LEVELS
    )
    node: dict[str, Any] = {"metric": draw(st.sampled_from(choice))}
    if draw(st.booleans()):
        operator = node["operator"] = draw(st.sampled_from([">", ">=", "<", "<="]))
        ends = sorted([draw(NUMBERS), draw(NUMBERS)], reverse=operator in UPWARD)
        node["threshold"], clear = ends
        if draw(st.booleans()):
            node["clear"] = clear
        if draw(st.booleans()):
            node["threshold"] = attributes(draw) | {"default": ends[0]}
    else:
        node["operator"] = draw(st.sampled_from(["inside", "outside"]))
        node["low"], node["high"] = sorted([draw(NUMBERS), draw(NUMBERS)])
        if draw(st.booleans()):
            node["high"] = {"attribute": "high"}
            node |= maybe(draw, margin=NUMBERS.map(abs))
    if function is not None:
        node |= {"function": function, "window": draw(DURATIONS)}
        node |= maybe(draw, coverage=st.floats(0.1, 100))
        if function == "percentile":
            node["percentile"] = draw(st.floats(0.1, 99.9))
    return node


@st.composite
def others(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"no_data": draw(DURATIONS), **maybe(draw, metric=st.sampled_from(GAUGES))}
    return {
        "event": draw(st.sampled_from(["gunshot", "odour.class-1"])),
        **maybe(
            draw,
            confidence=st.floats(0, 1),
            class_=WORDS,
            model=WORDS,
            count=st.integers(1, 10_000),
            window=DURATIONS,
        ),
    }


LEAVES = comparisons() | others()


def trees(leaves: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        leaves,
        lambda nodes: st.one_of(
            st.lists(nodes, min_size=1, max_size=4).map(lambda each: {"all": each}),
            st.lists(nodes, min_size=1, max_size=4).map(lambda each: {"any": each}),
            nodes.map(lambda node: {"not": node}),
        ),
        max_leaves=8,
    )


@st.composite
def counts(draw: st.DrawFn) -> dict[str, Any]:
    how = (
        {"at_least": draw(st.integers(1, 100))}
        if draw(st.booleans())
        else {"share": draw(st.floats(0.1, 100))}
    )
    return {"boxes": draw(trees(LEAVES)), **how, **maybe(draw, scope=SCOPES)}


@st.composite
def named(draw: st.DrawFn) -> dict[str, Any]:
    return {**draw(LEAVES), "box": draw(BOXES)}


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    tree = draw(trees(LEAVES) | trees(counts() | named()))
    return {**tree, **maybe(draw, for_=DURATIONS, repeat=st.integers(1, 1000), keep_firing_for=DURATIONS)}


def fits(condition: dict[str, Any]) -> bool:
    found = list(iterate_parts(condition))
    return len(found) <= NODES_LIMIT and max(part.depth for part in found) <= DEPTH_LIMIT


def read(condition: object) -> dict[str, Any]:
    body = {"severity": "info", "condition": condition}
    found: dict[str, Any] = RuleDefinition.model_validate(body).definition()["levels"][0]["condition"]
    return found


def holds(complete: object, given: object) -> bool:
    """Whether all that was given is there, beside what was filled in."""
    if isinstance(given, dict):
        return isinstance(complete, dict) and all(
            key in complete and holds(complete[key], value) for key, value in given.items()
        )
    if isinstance(given, list):
        return isinstance(complete, list) and all(map(holds, complete, given))
    return complete == given


def refusal(condition: object) -> list[ErrorDetails]:
    try:
        read(condition)
    except ValidationError as error:
        return error.errors()
    return []


@given(conditions())
def test_what_is_valid_is_stored_and_read_back_the_same(condition: dict[str, Any]) -> None:
    if not fits(condition):
        assert [get_field_error_code(fault)[:14] for fault in refusal(condition)] == ["condition_too_"]
        return
    complete = read(condition)
    assert holds(complete, condition)
    assert read(json.loads(json.dumps(complete))) == complete
    definition = RuleDefinition.model_validate({"severity": "info", "condition": condition}).definition()
    compile_rule(new_id(), 1, new_id(), new_id(), "any", definition)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["pm2_5", "laeq", ">", "outside", "PT1M", "mean", "gunshot"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "metric",
                        "operator",
                        "threshold",
                        "clear",
                        "low",
                        "high",
                        "margin",
                        "function",
                        "window",
                    ),
                    *(
                        "percentile",
                        "coverage",
                        "no_data",
                        "event",
                        "count",
                        "class",
                        "all",
                        "any",
                        "not",
                        "boxes",
                    ),
                    *("at_least", "share", "scope", "box", "attribute", "default", "for", "repeat", "x"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@st.composite
def mutated(draw: st.DrawFn) -> object:
    """A valid condition in which something was replaced, added or taken away."""
    root = {"condition": json.loads(json.dumps(draw(conditions())))}
    for _ in range(draw(st.integers(1, 3))):
        here: Any = root
        key: Any = "condition"
        while draw(st.booleans()) and isinstance(here[key], dict | list) and here[key]:
            here = here[key]
            key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
        if isinstance(here[key], dict) and draw(st.booleans()):
            here[key][draw(st.sampled_from(["x", "for", "all", "boxes", "metric", "clear", "box"]))] = draw(
                JUNK
            )
        else:
            here[key] = draw(JUNK)
    return root["condition"]


@given(JUNK | mutated())
def test_what_is_not_valid_is_refused_and_nothing_else_happens(condition: object) -> None:
    faults = refusal(condition)
    assert all(fault["loc"][0] == "condition" for fault in faults)
    if not faults:
        complete = read(condition)
        assert read(json.loads(json.dumps(complete, allow_nan=False))) == complete
