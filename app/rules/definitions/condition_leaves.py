"""Defines the JSON of the leaves of rule conditions: comparisons, silence of a box, and box events.

It validates leaves; the evaluator (`app.rules.engine`) gives them their meaning.
"""

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.http.contract.fields import BoxId, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.rules.definitions.condition_fields import (
    AttributeOperand,
    MetricName,
    Number,
    Operand,
    Period,
    WindowLength,
    Word,
    get_operand_number,
    make_missing_refusal,
    make_refusal,
)

Operator = Literal[">", ">=", "<", "<="]
RangeSide = Literal["inside", "outside"]
Function = Literal["mean", "min", "max", "sum", "percentile", "energy_mean", "rate", "spread", "count"]

OPERATORS: Final[tuple[Operator, ...]] = get_args(Operator)
UPWARD: Final = frozenset({">", ">="})
"""The operators that raise above the threshold; the others raise below it."""
SIDES: Final[tuple[RangeSide, ...]] = get_args(RangeSide)
COUNT_LIMIT: Final = 10_000
_SIGNS: Final = " ".join(f"`{sign}`" for sign in (*OPERATORS, *SIDES))


def to_stored_json(value: Any) -> Any:  # noqa: ANN401 (a field of any type)
    """Convert a field to the JSON that is stored: with defaults, without fields that are None."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return list(map(to_stored_json, value)) if isinstance(value, list) else value


def _sign(value: object) -> object:
    # By hand: each form of a comparison accepts only some of the operators.
    if isinstance(value, str) and value not in OPERATORS and value not in SIDES:
        raise CodedValueError(
            "invalid_value", f"{format_rejected_value(value)} is not an operator. Choose one of {_SIGNS}"
        )
    return value


OperatorCheck = BeforeValidator(_sign)
"""Refuses an unknown operator with the list of all operators."""


class ConditionNode(RequestBody):
    """A condition or a part of one."""

    # Nodes contain nodes: no schema can be built before all classes are defined.
    model_config = ConfigDict(serialize_by_alias=True, defer_build=True)

    def stored(self) -> dict[str, Any]:
        """Convert the node to the JSON that is stored, with defaults."""
        found: dict[str, Any] = to_stored_json(self)
        return found


class LeafNode(ConditionNode):
    """A node that is evaluated on one box."""

    box: Annotated[
        BoxId | None,
        Field(description="The box, in a rule on a whole site. Without it, each box of the rule"),
    ] = None


class _Windowed(BaseModel):
    """The fields of a comparison over a window."""

    function: Annotated[
        Function,
        Field(
            description="Aggregates the values of the window. `energy_mean` is for decibels, which `mean` "
            "and `sum` refuse; `rate` is newest minus oldest, per hour; `spread` is highest minus lowest"
        ),
    ]
    window: Annotated[
        WindowLength, Field(description="The length of the window: PT1S to P7D", examples=["PT1H"])
    ]
    percentile: Annotated[
        Number | None, Field(gt=0, lt=100, description="Only with the function `percentile`", examples=[95])
    ] = None
    coverage: Annotated[
        Number | None,
        Field(
            gt=0,
            le=100,
            description="The comparison is unknown below this percentage of the samples due by `interval_s`",
        ),
    ] = None


class _Compared(LeafNode):
    """A node with a metric."""

    metric: MetricName

    @model_validator(mode="after")
    def _function(self) -> Self:
        if not isinstance(self, _Windowed):
            return self
        function, kind = self.function, METRICS_BY_NAME[self.metric].kind
        if kind == "level" and function in {"mean", "sum"}:
            raise make_refusal(
                ("function",),
                CodedValueError(
                    "arithmetic_mean_of_decibels",
                    f"{self.metric} is in decibels: their {function} has no meaning. Use energy_mean",
                ),
            )
        if kind != "level" and function == "energy_mean":
            raise make_refusal(
                ("function",),
                CodedValueError("not_a_level", f"{self.metric} is not in decibels. Use mean"),
            )
        if function == "percentile" and self.percentile is None:
            raise make_missing_refusal("percentile")
        if function != "percentile" and self.percentile is not None:
            raise make_refusal(
                ("percentile",),
                CodedValueError(
                    "unknown_field", f"`percentile` needs the function of this name, not {function}"
                ),
            )
        return self


class ThresholdNode(_Compared):
    """Compares the newest value with a number."""

    operator: Annotated[
        Operator,
        OperatorCheck,
        Field(description="The condition holds if `value operator threshold` is true"),
    ]
    threshold: Annotated[Operand, Field(description="In the unit of the metric")]
    clear: Annotated[
        Operand | None,
        Field(
            description="A firing rule resolves at the first sample at or below this (`>`, `>=`), or at or "
            "above it (`<`, `<=`). Default: the threshold; a value that fires does not resolve"
        ),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.clear = resolve_clear(self.operator, self.threshold, self.clear)
        return self


def resolve_clear(
    operator: Operator, threshold: float | AttributeOperand, clear: float | AttributeOperand | None
) -> float | AttributeOperand:
    """Return `clear`, by default the threshold. An impossible one is refused (`invalid_clear`)."""
    if clear is None:
        # An explicit null means the same as no `clear`.
        return threshold
    high, low = get_operand_number(threshold), get_operand_number(clear)
    if high is None or low is None:
        return clear
    upward = operator in UPWARD
    if low > high if upward else low < high:
        side = "below" if upward else "above"
        raise make_refusal(
            ("clear",),
            CodedValueError(
                "invalid_clear",
                f"`clear` must be the threshold or {side} it with `{operator}`. Otherwise the rule would "
                "resolve immediately and fire again",
            ),
        )
    return clear


class RangeNode(_Compared):
    """Compares the newest value with a range. The bounds are inside."""

    operator: Annotated[RangeSide, OperatorCheck]
    low: Annotated[Operand, Field(description="In the unit of the metric")]
    high: Annotated[Operand, Field(description="In the unit of the metric")]
    margin: Annotated[
        Number,
        Field(
            ge=0,
            description="How far a value must return before a firing rule resolves: `outside` from "
            "`low + margin` to `high - margin`, `inside` below `low - margin` or above `high + margin`",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        low, high = get_operand_number(self.low), get_operand_number(self.high)
        if low is None or high is None:
            return self
        if low > high:
            raise make_refusal(("high",), CodedValueError("invalid_range", "`high` is below `low`"))
        if self.operator == "outside" and low + self.margin > high - self.margin:
            raise make_refusal(
                ("margin",),
                CodedValueError(
                    "invalid_margin", "`margin` is more than half of the range: the rule would never resolve"
                ),
            )
        return self


class WindowedThresholdNode(ThresholdNode, _Windowed):
    """Compares an aggregate of a window of values with a number."""


class WindowedRangeNode(RangeNode, _Windowed):
    """Compares an aggregate of a window of values with a range."""


class SilenceNode(LeafNode):
    """Holds while a box sends nothing. A box is silent only after its first sample."""

    no_data: Annotated[
        Period, Field(description="The duration of the silence: PT1S to P31D", examples=["PT15M"])
    ]
    metric: Annotated[
        MetricName | None, Field(description="No sample with this metric. Without it, no sample at all")
    ] = None


class EventNode(LeafNode):
    """Counts events that the box recognised."""

    event: Annotated[
        str, Field(pattern=r"^[a-z0-9_.-]{1,64}$", description="The type of the event", examples=["gunshot"])
    ]
    confidence: Annotated[
        Number | None, Field(ge=0, le=1, description="A candidate has at least this confidence")
    ] = None
    class_: Annotated[
        Word | None, Field(alias="class", description="A candidate is of this class", examples=["pistol"])
    ] = None
    model: Annotated[
        Word | None, Field(description="A candidate is of this model", examples=["glock-17"])
    ] = None
    count: Annotated[int, Field(ge=1, le=COUNT_LIMIT, description="How many events within `window`")] = 1
    window: Annotated[
        WindowLength,
        Field(description="The length of the window, and how long one event counts: PT1S to P7D"),
    ] = "PT5M"
