"""The leaves of conditions on the wire: comparisons, silence, events.

Owns what a leaf may hold. What it means is the evaluator's business.
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
"""The operators whose alarming side is above the threshold; for the others it is below, as in a mirror."""
SIDES: Final[tuple[RangeSide, ...]] = get_args(RangeSide)
COUNT_LIMIT: Final = 10_000
_SIGNS: Final = " ".join(f"`{sign}`" for sign in (*OPERATORS, *SIDES))


def to_stored_json(value: Any) -> Any:  # noqa: ANN401 (a field of any type)
    """The JSON of a field as it is stored: complete, without what was left out and has no default."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return list(map(to_stored_json, value)) if isinstance(value, list) else value


def _sign(value: object) -> object:
    # By hand: each form of a comparison knows half of them.
    if isinstance(value, str) and value not in OPERATORS and value not in SIDES:
        raise CodedValueError(
            "invalid_value", f"{format_rejected_value(value)}: an operator is one of {_SIGNS}"
        )
    return value


OperatorCheck = BeforeValidator(_sign)
"""Names all operators where there is no such one."""


class ConditionNode(RequestBody):
    """A condition, or a part of one."""

    # Nodes hold nodes: none can be built before all are there.
    model_config = ConfigDict(serialize_by_alias=True, defer_build=True)

    def stored(self) -> dict[str, Any]:
        """The node as it is stored: complete."""
        found: dict[str, Any] = to_stored_json(self)
        return found


class LeafNode(ConditionNode):
    """A node that asks something of one box."""

    box: Annotated[
        BoxId | None,
        Field(description="Of this box, in a rule on the site as a whole. Left out: of the box in question"),
    ] = None


class _Windowed(BaseModel):
    """The fields of a comparison over a window."""

    function: Annotated[
        Function,
        Field(
            description="What the values of the window come to. `energy_mean` is for decibels, which `mean` "
            "and `sum` refuse; `rate` is newest less oldest, per hour; `spread` is highest less lowest"
        ),
    ]
    window: Annotated[
        WindowLength, Field(description="How far it looks back: PT1S to P7D", examples=["PT1H"])
    ]
    percentile: Annotated[
        Number | None, Field(gt=0, lt=100, description="With `percentile`, and only there", examples=[95])
    ] = None
    coverage: Annotated[
        Number | None,
        Field(
            gt=0,
            le=100,
            description="Unknown below this percentage of the samples that the box's `interval_s` promises",
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
                    f"{self.metric} is in decibels, whose {function} says nothing: use energy_mean",
                ),
            )
        if kind != "level" and function == "energy_mean":
            raise make_refusal(
                ("function",),
                CodedValueError("not_a_level", f"{self.metric} is not in decibels: use mean"),
            )
        if function == "percentile" and self.percentile is None:
            raise make_missing_refusal("percentile")
        if function != "percentile" and self.percentile is not None:
            raise make_refusal(
                ("percentile",),
                CodedValueError(
                    "unknown_field", f"`percentile` goes with the function of this name, not {function}"
                ),
            )
        return self


class ThresholdNode(_Compared):
    """The newest value, compared with a number."""

    operator: Annotated[
        Operator,
        OperatorCheck,
        Field(description="A sample is *above* where `value operator threshold` holds"),
    ]
    threshold: Annotated[Operand, Field(description="In the metric's unit")]
    clear: Annotated[
        Operand | None,
        Field(
            description="A firing rule resolves at the first sample at or below this (`>`, `>=`), or at or "
            "above it (`<`, `<=`). Left out: the threshold, where a value that would fire does not resolve"
        ),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.clear = resolve_clear(self.operator, self.threshold, self.clear)
        return self


def resolve_clear(
    operator: Operator, threshold: float | AttributeOperand, clear: float | AttributeOperand | None
) -> float | AttributeOperand:
    """Give where a comparison clears: at its threshold where nothing is said (`invalid_clear`)."""
    if clear is None:
        # A null that was sent means the same as no `clear`.
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
                f"With `{operator}`, `clear` is the threshold or {side} it: else it would resolve "
                "at once and fire again",
            ),
        )
    return clear


class RangeNode(_Compared):
    """The newest value, inside or outside of a range. The bounds belong to the inside."""

    operator: Annotated[RangeSide, OperatorCheck]
    low: Annotated[Operand, Field(description="In the metric's unit")]
    high: Annotated[Operand, Field(description="In the metric's unit")]
    margin: Annotated[
        Number,
        Field(
            ge=0,
            description="How far a value has to come back before a firing rule resolves: `outside` at "
            "`low + margin` to `high - margin`, `inside` below `low - margin` or above `high + margin`",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        low, high = get_operand_number(self.low), get_operand_number(self.high)
        if low is None or high is None:
            return self
        if low > high:
            raise make_refusal(("high",), CodedValueError("invalid_range", "`high` is `low` or above it"))
        if self.operator == "outside" and low + self.margin > high - self.margin:
            raise make_refusal(
                ("margin",),
                CodedValueError(
                    "invalid_margin", "No value is that far inside the range: it would never resolve"
                ),
            )
        return self


class WindowedThresholdNode(ThresholdNode, _Windowed):
    """What the values of a window come to, compared with a number."""


class WindowedRangeNode(RangeNode, _Windowed):
    """What the values of a window come to, inside or outside of a range."""


class SilenceNode(LeafNode):
    """Nothing came for some time. It begins with the box's first sample."""

    no_data: Annotated[Period, Field(description="For how long: PT1S to P31D", examples=["PT15M"])]
    metric: Annotated[
        MetricName | None, Field(description="No sample with this metric. Left out: none at all")
    ] = None


class EventNode(LeafNode):
    """The box recognised something by itself."""

    event: Annotated[
        str, Field(pattern=r"^[a-z0-9_.-]{1,64}$", description="The event's type", examples=["gunshot"])
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
    count: Annotated[int, Field(ge=1, le=COUNT_LIMIT, description="How many of them within `window`")] = 1
    window: Annotated[
        WindowLength, Field(description="How far it looks back, and how long one event counts: PT1S to P7D")
    ] = "PT5M"
