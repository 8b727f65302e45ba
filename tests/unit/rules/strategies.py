"""Random rules, boxes and things that come. Times are whole minutes; numbers are few and meet often."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from app.rules.engine.box_and_site_views import BoxFacts
from tests.unit.rules.helpers import Definition, RuleInput, at, event, minutes, row

GAUGES = ("pm2_5", "temperature")
LEVEL = "laeq"
KINDS = ("gunshot", "scream")
NUMBERS = st.integers(-3, 3)
BOXES = (
    BoxFacts(1, "box-1", 60, "noise", frozenset({"roof"}), {"limit": 1}),
    BoxFacts(2, "box-2", 120, "dust", frozenset({"roof", "north"}), {"limit": 0}),
    BoxFacts(3, "box-3"),
)
SITE_ATTRIBUTES = {"limit": 2}
_OPERATORS = (">", ">=", "<", "<=")
_FUNCTIONS = ("mean", "min", "max", "sum", "percentile", "energy_mean", "rate", "spread", "count")


def _length(draw: st.DrawFn, low: int, high: int) -> str:
    return minutes(draw(st.integers(low, high)))


@st.composite
def _operand(draw: st.DrawFn) -> Any:  # noqa: ANN401 (a number, or an attribute)
    if draw(st.integers(0, 6)):
        return draw(NUMBERS)
    return {"attribute": "limit", **({"default": draw(NUMBERS)} if draw(st.booleans()) else {})}


@st.composite
def _limit(draw: st.DrawFn) -> dict[str, Any]:
    if not draw(st.integers(0, 3)):
        low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
        side = draw(st.sampled_from(["inside", "outside"]))
        widest = 2 if side == "inside" else (high - low) // 2
        return {"operator": side, "low": low, "high": high, "margin": draw(st.integers(0, widest))}
    sign = draw(st.sampled_from(_OPERATORS))
    limit: dict[str, Any] = {"operator": sign, "threshold": draw(_operand())}
    if draw(st.booleans()) and not isinstance(limit["threshold"], dict):
        distance = draw(st.integers(0, 3))
        limit["clear"] = limit["threshold"] + (-distance if ">" in sign else distance)
    return limit


@st.composite
def comparison(draw: st.DrawFn, *, windowed: bool | None = None) -> dict[str, Any]:
    """A comparison of a value, or over a window."""
    leaf: dict[str, Any] = {"metric": draw(st.sampled_from(GAUGES)), **draw(_limit())}
    if draw(st.booleans()) if windowed is None else windowed:
        leaf["function"] = function = draw(st.sampled_from(_FUNCTIONS))
        leaf["window"] = _length(draw, 2, 12)
        if function == "percentile":
            leaf["percentile"] = draw(st.sampled_from([5, 50, 90, 99.5]))
        if function == "energy_mean":
            leaf["metric"] = LEVEL
        if function == "rate":
            # Numbers of a step between two minutes.
            for key in ("threshold", "clear", "low", "high", "margin"):
                if isinstance(leaf.get(key), int):
                    leaf[key] *= 60
        if not draw(st.integers(0, 3)):
            leaf["coverage"] = draw(st.sampled_from([25, 50, 100]))
    return leaf


@st.composite
def leaf(draw: st.DrawFn) -> dict[str, Any]:
    """Anything that can be asked of one box."""
    kind = draw(st.sampled_from(["value", "value", "window", "silence", "event"]))
    if kind == "silence":
        metric = draw(st.sampled_from([None, *GAUGES]))
        return {"no_data": _length(draw, 1, 8), **({"metric": metric} if metric else {})}
    if kind == "event":
        asked: dict[str, Any] = {"event": draw(st.sampled_from(KINDS)), "window": _length(draw, 1, 12)}
        if draw(st.booleans()):
            asked["count"] = draw(st.integers(1, 3))
        if draw(st.booleans()):
            asked["confidence"] = draw(st.sampled_from([0.3, 0.6]))
        if not draw(st.integers(0, 2)):
            asked["class"] = draw(st.sampled_from(["a", "b"]))
        return asked
    return draw(comparison(windowed=kind == "window"))


@st.composite
def node(draw: st.DrawFn, leaves: st.SearchStrategy[dict[str, Any]], depth: int = 3) -> dict[str, Any]:
    """A tree of conditions."""
    kind = draw(st.sampled_from(["leaf", "leaf", "all", "any", "not"])) if depth else "leaf"
    if kind == "leaf":
        return draw(leaves)
    if kind == "not":
        return {"not": draw(node(leaves, depth - 1))}
    return {kind: draw(st.lists(node(leaves, depth - 1), min_size=1, max_size=3))}


@st.composite
def _scope(draw: st.DrawFn) -> dict[str, Any] | None:
    return draw(
        st.sampled_from(
            [None, None, None, None, {"boxes": ["box-1", "box-3"]}, {"kinds": ["dust"]}, {"tags": ["roof"]}]
        )
    )


@st.composite
def across(draw: st.DrawFn) -> dict[str, Any]:
    """A question to all boxes of a site, or to one that is named."""
    if not draw(st.integers(0, 2)):
        return {**draw(leaf()), "box": draw(st.sampled_from(["box-1", "box-2", "box-9"]))}
    found: dict[str, Any] = {"boxes": draw(node(leaf(), 1))}
    if draw(st.booleans()):
        found["at_least"] = draw(st.integers(1, 3))
    else:
        found["share"] = draw(st.sampled_from([20, 50, 100]))
    scope = draw(_scope())
    return found if scope is None else {**found, "scope": scope}


@st.composite
def definition(draw: st.DrawFn, leaves: st.SearchStrategy[dict[str, Any]] | None = None) -> Definition:
    """A rule on each box, or with `across` on the site as a whole."""
    severities = draw(
        st.sampled_from([["info"], ["critical"], ["info", "warning"], ["info", "warning", "critical"]])
    )
    levels = []
    for severity in severities:
        condition = draw(node(leaf() if leaves is None else leaves, 2))
        condition |= {
            "for": minutes(draw(st.sampled_from([0, 0, 1, 3]))),
            "repeat": draw(st.sampled_from([1, 1, 1, 2, 3])),
            "keep_firing_for": minutes(draw(st.sampled_from([0, 0, 1, 3]))),
        }
        levels.append({"severity": severity, "condition": condition})
    spans = [
        # All in the four hours around the minutes in question.
        {"from": f"22:{draw(st.integers(0, 30)):02}", "to": f"22:{draw(st.integers(0, 59)):02}"}
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
    ]
    return {
        "levels": levels,
        "scope": draw(_scope()),
        "active": spans or None,
        "max_age": _length(draw, 2, 20),
    }


@st.composite
def _thing(draw: st.DrawFn, minute: int, boxes: Sequence[BoxFacts]) -> RuleInput:
    box = draw(st.sampled_from([boxes[0], *boxes])).key
    if not draw(st.integers(0, 3)):
        candidates = [
            {"confidence": draw(st.sampled_from([0.1, 0.3, 0.9])), "class": draw(st.sampled_from(["a", "b"]))}
            for _ in range(draw(st.integers(0, 2)))
        ]
        return event(minute, draw(st.sampled_from(KINDS)), box, candidates)
    names = draw(st.sampled_from([(*GAUGES, LEVEL), GAUGES[:1], GAUGES, (LEVEL,)]))
    return RuleInput(box, at(minute), row(**{name: draw(NUMBERS) for name in names}))


@st.composite
def things(
    draw: st.DrawFn, boxes: Sequence[BoxFacts] = BOXES, *, ordered: bool = False, most: int = 40
) -> list[RuleInput]:
    """Samples and events as they come, in order or not, in the first hour."""
    found = []
    minute = 1
    for _ in range(draw(st.sampled_from([most, most // 2, 3]))):
        minute += draw(st.sampled_from([1, 1, 0, 2, 5]))
        late = 0 if ordered else draw(st.sampled_from([0, 0, 0, 1, 4]))
        found.append(draw(_thing(max(minute - late, 1), boxes)))
    return found
