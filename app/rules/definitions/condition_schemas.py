"""Defines conditions in JSON as trees of nodes, and picks the class of a node by its keys.

The class is picked before any field is validated. So an error is reported once, at the faulty part:
`condition.all.1.threshold`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, GetCoreSchemaHandler, ValidationError, create_model, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.rules.definitions.condition_fields import Number, SomeBoxes, Wait, make_refusal
from app.rules.definitions.condition_leaves import (
    COUNT_LIMIT,
    OPERATORS,
    SIDES,
    ConditionNode,
    EventNode,
    RangeNode,
    SilenceNode,
    ThresholdNode,
    WindowedRangeNode,
    WindowedThresholdNode,
)
from app.rules.definitions.condition_trees import DEPTH_LIMIT, NODES_LIMIT, iterate_parts
from app.rules.definitions.index_conditions import IndexBandNode, IndexNode

REPEAT_LIMIT: Final = 1_000

_COMPARING: Final = ("operator", "threshold", "clear", "low", "high", "margin")
_WINDOW: Final = ("function", "window", "percentile", "coverage")
_MARKS: Final = ("all", "any", "not", "boxes", "no_data", "event", "index")
_TIMING: Final = ("for", "repeat", "keep_firing_for")


class _Picked:
    """Validates a node as the class that its keys select."""

    def __init__(
        self, classes: Callable[[], Mapping[type[ConditionNode], type[ConditionNode]]], *, whole: bool
    ) -> None:
        self.classes = classes
        self.whole = whole

    def __get_pydantic_core_schema__(self, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        classes = self.classes()

        def pick(value: object, _: core_schema.ValidatorFunctionWrapHandler) -> ConditionNode:
            if isinstance(value, ConditionNode):
                return value
            if self.whole:
                _check_size(value)
            kind = classes[_class_of(value)]
            try:
                return kind.model_validate(value)
            except ValidationError as error:
                raise _with_fields(kind, error) from None

        union = core_schema.union_schema([handler.generate_schema(each) for each in classes.values()])
        return core_schema.no_info_wrap_validator_function(pick, union)


SomeNode = Annotated[ConditionNode, _Picked(lambda: {each: each for each in NODES}, whole=False)]
"""A part of a condition."""


class AllNode(ConditionNode):
    """Holds if all parts hold."""

    all_: Annotated[list[SomeNode], Field(alias="all", min_length=1, max_length=NODES_LIMIT)]


class AnyNode(ConditionNode):
    """Holds if at least one part holds."""

    any_: Annotated[list[SomeNode], Field(alias="any", min_length=1, max_length=NODES_LIMIT)]


class NotNode(ConditionNode):
    """Holds if its part does not. Unknown stays unknown."""

    not_: Annotated[SomeNode, Field(alias="not")]


class BoxesNode(ConditionNode):
    """Holds if enough boxes of the site meet a condition. The rule is then on the whole site."""

    boxes: Annotated[SomeNode, Field(description="The condition, evaluated on each box")]
    at_least: Annotated[int | None, Field(ge=1, le=COUNT_LIMIT, description="The number of boxes")] = None
    share: Annotated[
        Number | None, Field(gt=0, le=100, description="The percentage of the boxes, whether known or not")
    ] = None
    scope: Annotated[
        SomeBoxes | None, Field(description="The boxes that are counted. Default: those of the rule")
    ] = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.at_least is None) == (self.share is None):
            raise CodedValueError("at_least_or_share", "`boxes` needs either `at_least` or `share`")
        return self


class ConditionTiming(ConditionNode):
    """The timing of a whole condition. Durations are in measurement time."""

    for_: Annotated[
        Wait,
        Field(
            alias="for",
            description="How long it must hold before the rule fires: ISO 8601, at most P31D",
            examples=["PT10M"],
        ),
    ] = "PT0S"
    repeat: Annotated[
        int,
        Field(ge=1, le=REPEAT_LIMIT, description="How many consecutive evaluations must find that it holds"),
    ] = 1
    keep_firing_for: Annotated[
        Wait,
        Field(description="How long it must be cleared before a firing rule resolves: at most P31D"),
    ] = "PT0S"


NODES: Final[tuple[type[ConditionNode], ...]] = (
    ThresholdNode,
    RangeNode,
    WindowedThresholdNode,
    WindowedRangeNode,
    SilenceNode,
    EventNode,
    IndexNode,
    IndexBandNode,
    AllNode,
    AnyNode,
    NotNode,
    BoxesNode,
)
_WHOLE: Final[dict[type[ConditionNode], type[ConditionNode]]] = {
    each: create_model(
        f"{each.__name__.removesuffix('Node')}Condition",
        __base__=(ConditionTiming, each),
        __doc__=each.__doc__,
        __module__=__name__,
        __config__=None,
    )
    for each in NODES
}

Condition = Annotated[ConditionNode, _Picked(lambda: _WHOLE, whole=True)]
"""A whole condition: a node with the additional keys `for`, `repeat` and `keep_firing_for`."""


def _with_fields(kind: type[ConditionNode], error: ValidationError) -> ValidationError:
    """Replace the error of an unknown field by one that lists the fields of the node."""
    faults = error.errors()
    unknown = {
        index
        for index, fault in enumerate(faults)
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1
    }
    if not unknown:
        return error
    names = [field.alias or name for name, field in kind.model_fields.items()]
    if issubclass(kind, ThresholdNode | RangeNode):
        # Adding one of these makes it a comparison over a window.
        names += [name for name in _WINDOW if name not in names]
    listed = ", ".join(f"`{name}`" for name in sorted(names, key=_TIMING.__contains__))
    error_of_field = CodedValueError("unknown_field", f"Unknown field. The fields here are {listed}")
    found = [
        InitErrorDetails(type="value_error", loc=fault["loc"], input=None, ctx={"error": error_of_field})
        if index in unknown
        else InitErrorDetails(
            type=fault["type"], loc=fault["loc"], input=fault["input"], ctx=fault.get("ctx", {})
        )
        for index, fault in enumerate(faults)
    ]
    return ValidationError.from_exception_data("condition", found)


def _class_of(value: object) -> type[ConditionNode]:
    """Pick the class of a node by its keys.

    Raises:
        CodedValueError: `wrong_type`, `unknown_condition` or `ambiguous_condition`.
    """
    if not isinstance(value, dict):
        raise CodedValueError("wrong_type", f"{format_rejected_value(value)} is not an object")
    marks = [mark for mark in _MARKS if mark in value]
    if "index" not in value and any(key in value for key in _COMPARING):
        marks.append("operator")
    if len(marks) > 1:
        raise CodedValueError(
            "ambiguous_condition",
            f"{' and '.join(f'`{mark}`' for mark in marks)} belong to different conditions. Join them with "
            "`all` or `any`",
        )
    mark = marks[0] if marks else "operator"
    if not marks and not any(key in value for key in ("metric", *_WINDOW)):
        raise CodedValueError(
            "unknown_condition",
            "No key selects a kind of condition. Use metric with operator, no_data, event, index, all, any, "
            "not or boxes",
        )
    if mark == "index":
        return IndexBandNode if "band" in value or "clear_band" in value else IndexNode
    return _BY_MARK[mark] if mark != "operator" else _comparison(value)


_BY_MARK: Final[dict[str, type[ConditionNode]]] = {
    "all": AllNode,
    "any": AnyNode,
    "not": NotNode,
    "boxes": BoxesNode,
    "no_data": SilenceNode,
    "event": EventNode,
}


def _comparison(value: dict[str, Any]) -> type[ConditionNode]:
    sign = value.get("operator")
    if sign in SIDES or sign in OPERATORS:
        ranged = sign in SIDES
    else:
        ranged = "threshold" not in value and ("low" in value or "high" in value)
    if any(key in value for key in _WINDOW):
        return WindowedRangeNode if ranged else WindowedThresholdNode
    return RangeNode if ranged else ThresholdNode


def _check_size(condition: object) -> None:
    """Refuse a condition that is too large, before recursive code reads it.

    Raises:
        ValidationError: `condition_too_deep` or `condition_too_large`, at the first excess part.
    """
    for number, part in enumerate(iterate_parts(condition), 1):
        if part.depth > DEPTH_LIMIT:
            raise make_refusal(
                part.path,
                CodedValueError(
                    "condition_too_deep", f"A condition may be at most {DEPTH_LIMIT} levels deep"
                ),
            )
        if number > NODES_LIMIT:
            raise make_refusal(
                part.path,
                CodedValueError("condition_too_large", f"A condition may have at most {NODES_LIMIT} parts"),
            )
