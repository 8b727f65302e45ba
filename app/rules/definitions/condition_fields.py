"""The fields of rules' conditions: metrics, durations, numbers, and refusals that point at the exact part."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import InitErrorDetails

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.http.contract.fields import DURATION, NAME_PATTERN, BoxId, RequestBody, check_text
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.registry.labels import AttributeName, BoxKind, Tag, check_attribute_name
from app.rules.definitions.condition_trees import ConditionPath

WORD_LIMIT: Final = 64
SCOPE_LIMIT: Final = 200


def make_refusal(path: ConditionPath, error: CodedValueError) -> ValidationError:
    """Make the refusal of a part, for a validator of what holds the part to raise."""
    fault = InitErrorDetails(type="value_error", loc=path, input=None, ctx={"error": error})
    return ValidationError.from_exception_data("condition", [fault])


def make_missing_refusal(*fields: str, detail: str = "Field required") -> ValidationError:
    """Make the refusal of a body without some of its fields."""
    told = CodedValueError("missing_field", detail)
    return ValidationError.from_exception_data(
        "condition",
        [
            InitErrorDetails(type="value_error", loc=(field,), input=None, ctx={"error": told})
            for field in fields
        ],
    )


def check_metric(value: str) -> str:
    """Check that a metric is in the catalogue (CodedValueError `unknown_metric`)."""
    if value not in METRICS_BY_NAME:
        raise CodedValueError(
            "unknown_metric", f"{format_rejected_value(value)} is not in the catalogue (GET /v1/metrics)"
        )
    return value


def parse_seconds(text: str) -> float:
    """Read a duration of a body as seconds (CodedValueError `invalid_duration`)."""
    try:
        return parse_iso_duration(text)
    except RejectedError as error:
        raise CodedValueError(error.code, error.detail) from None


def make_duration_check(least: str, most: str) -> Callable[[str], str]:
    """Make the check that a duration is within two others, both included."""
    least_s, most_s = parse_iso_duration(least), parse_iso_duration(most)

    def check(text: str) -> str:
        if not least_s <= parse_seconds(text) <= most_s:
            raise CodedValueError(
                "invalid_duration", f"{format_rejected_value(text)} is not within {least} and {most}"
            )
        return text

    return check


def _word(value: str) -> str:
    return check_text(value, limit=WORD_LIMIT)


type MetricName = Annotated[
    str,
    AfterValidator(check_metric),
    Field(description="A metric of `GET /v1/metrics`", json_schema_extra={"enum": sorted(METRICS_BY_NAME)}),
]
"""The name of a metric."""

Word = Annotated[
    str,
    AfterValidator(_word),
    Field(json_schema_extra={"minLength": 1, "maxLength": WORD_LIMIT, "pattern": NAME_PATTERN}),
]
"""What boxes call a class or a model: 1 to 64 characters in normal form C, one line."""

Wait = Annotated[str, AfterValidator(make_duration_check("PT0S", "P31D")), DURATION]
"""An ISO 8601 duration of at most 31 days, which may be none."""

Period = Annotated[str, AfterValidator(make_duration_check("PT1S", "P31D")), DURATION]
"""An ISO 8601 duration of one second to 31 days."""

WindowLength = Annotated[str, AfterValidator(make_duration_check("PT1S", "P7D")), DURATION]
"""An ISO 8601 duration of one second to seven days."""

Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""

_NUMBER: Final[TypeAdapter[float]] = TypeAdapter(Number, config=ConfigDict(strict=True))


class AttributeOperand(RequestBody):
    """A number that is set on the box or, where the box has none of this name, on its site."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attribute": "noise_limit", "default": 65}]})

    attribute: Annotated[AttributeName, Field(description="The attribute's name")]
    default: Annotated[
        Number | None, Field(description="Where neither has it. Left out: the comparison is unknown there")
    ] = None


def _names_attribute(text: str) -> bool:
    """Tell whether an attribute can have this name."""
    try:
        check_attribute_name(text)
    except CodedValueError:
        return False
    return True


def _operand(value: Any, _: ValidatorFunctionWrapHandler) -> float | AttributeOperand:  # noqa: ANN401 (whatever JSON holds)

    # By hand: a union would name the faults of both forms.
    if isinstance(value, dict | AttributeOperand):
        return AttributeOperand.model_validate(value)
    if isinstance(value, str):
        meant = value if _names_attribute(value) else "night_limit"
        raise CodedValueError(
            "wrong_type",
            f'{format_rejected_value(value)}: a number is due, or {{"attribute": "{meant}"}} for one that '
            "is set on the box or its site",
        )
    return _NUMBER.validate_python(value)


Operand = Annotated[float | AttributeOperand, WrapValidator(_operand)]
"""A number in the metric's unit, or the attribute that has it."""


def get_operand_number(operand: float | AttributeOperand | None) -> float | None:
    """The number that an operand is, or is by default; None where only the boxes tell."""
    return operand.default if isinstance(operand, AttributeOperand) else operand


class BoxScope(RequestBody):
    """Some of a site's boxes: those that fit each list that is given, by one of its entries."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kinds": ["street"], "tags": ["school", "hospital"]}],
            "minProperties": 1,
        }
    )

    boxes: Annotated[
        list[BoxId] | None, Field(min_length=1, max_length=SCOPE_LIMIT, description="One of these boxes")
    ] = None
    kinds: Annotated[
        list[BoxKind] | None, Field(min_length=1, max_length=SCOPE_LIMIT, description="Of one of these kinds")
    ] = None
    tags: Annotated[
        list[Tag] | None, Field(min_length=1, max_length=SCOPE_LIMIT, description="With one of these tags")
    ] = None


def _not_empty(scope: BoxScope) -> BoxScope:
    if scope.boxes is None and scope.kinds is None and scope.tags is None:
        raise CodedValueError("empty_scope", "Name boxes, kinds or tags; for every box leave `scope` out")
    return scope


SomeBoxes = Annotated[BoxScope, AfterValidator(_not_empty)]
"""A scope with at least one list."""
