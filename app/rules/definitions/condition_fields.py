"""Defines the field types of rule conditions, and errors that point at the faulty part."""

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
    """Make the error of a part of a condition. Validators of an enclosing part raise it."""
    fault = InitErrorDetails(type="value_error", loc=path, input=None, ctx={"error": error})
    return ValidationError.from_exception_data("condition", [fault])


def make_missing_refusal(*fields: str, detail: str = "Field required") -> ValidationError:
    """Make the error of a body that lacks required fields."""
    error = CodedValueError("missing_field", detail)
    return ValidationError.from_exception_data(
        "condition",
        [
            InitErrorDetails(type="value_error", loc=(field,), input=None, ctx={"error": error})
            for field in fields
        ],
    )


def check_metric(value: str) -> str:
    """Check that a metric is in the catalogue (CodedValueError `unknown_metric`)."""
    if value not in METRICS_BY_NAME:
        raise CodedValueError(
            "unknown_metric", f"{format_rejected_value(value)} is not a metric. `GET /v1/metrics` lists them"
        )
    return value


def parse_seconds(text: str) -> float:
    """Parse a duration of a body into seconds (CodedValueError `invalid_duration`)."""
    try:
        return parse_iso_duration(text)
    except RejectedError as error:
        raise CodedValueError(error.code, error.detail) from None


def make_duration_check(least: str, most: str) -> Callable[[str], str]:
    """Make a validator that limits a duration to a range, both bounds included."""
    least_s, most_s = parse_iso_duration(least), parse_iso_duration(most)

    def check(text: str) -> str:
        if not least_s <= parse_seconds(text) <= most_s:
            raise CodedValueError(
                "invalid_duration", f"{format_rejected_value(text)} is not between {least} and {most}"
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
"""The name of a metric in the catalogue."""

Word = Annotated[
    str,
    AfterValidator(_word),
    Field(json_schema_extra={"minLength": 1, "maxLength": WORD_LIMIT, "pattern": NAME_PATTERN}),
]
"""The name of a class or a model: 1 to 64 characters in Unicode normal form C, one line."""

Wait = Annotated[str, AfterValidator(make_duration_check("PT0S", "P31D")), DURATION]
"""An ISO 8601 duration of zero to 31 days."""

Period = Annotated[str, AfterValidator(make_duration_check("PT1S", "P31D")), DURATION]
"""An ISO 8601 duration of one second to 31 days."""

WindowLength = Annotated[str, AfterValidator(make_duration_check("PT1S", "P7D")), DURATION]
"""An ISO 8601 duration of one second to seven days."""

Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""

_NUMBER: Final[TypeAdapter[float]] = TypeAdapter(Number, config=ConfigDict(strict=True))


class AttributeOperand(RequestBody):
    """A number that is an attribute of the box or, if the box does not have it, of its site."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attribute": "noise_limit", "default": 65}]})

    attribute: Annotated[AttributeName, Field(description="The name of the attribute")]
    default: Annotated[
        Number | None,
        Field(description="Used if neither has it. Otherwise the result is unknown"),
    ] = None


def _names_attribute(text: str) -> bool:
    """Return whether an attribute can have this name."""
    try:
        check_attribute_name(text)
    except CodedValueError:
        return False
    return True


def _operand(value: Any, _: ValidatorFunctionWrapHandler) -> float | AttributeOperand:  # noqa: ANN401 (whatever JSON holds)
    # By hand: a union would report the errors of both forms.
    if isinstance(value, dict | AttributeOperand):
        return AttributeOperand.model_validate(value)
    if isinstance(value, str):
        name = value if _names_attribute(value) else "night_limit"
        raise CodedValueError(
            "wrong_type",
            f'{format_rejected_value(value)} is not a number. Send a number, or {{"attribute": "{name}"}} '
            "for an attribute of the box or its site",
        )
    return _NUMBER.validate_python(value)


Operand = Annotated[float | AttributeOperand, WrapValidator(_operand)]
"""A number in the unit of the metric, or the attribute with that number."""


def get_operand_number(operand: float | AttributeOperand | None) -> float | None:
    """The number of an operand or its default; None if only the attributes of a box have it."""
    return operand.default if isinstance(operand, AttributeOperand) else operand


class BoxScope(RequestBody):
    """Selects boxes of a site. A box must match one entry of each list that is given."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kinds": ["street"], "tags": ["school", "hospital"]}],
            "minProperties": 1,
        }
    )

    boxes: Annotated[
        list[BoxId] | None,
        Field(min_length=1, max_length=SCOPE_LIMIT, description="Boxes with one of these ids"),
    ] = None
    kinds: Annotated[
        list[BoxKind] | None,
        Field(min_length=1, max_length=SCOPE_LIMIT, description="Boxes of one of these kinds"),
    ] = None
    tags: Annotated[
        list[Tag] | None,
        Field(min_length=1, max_length=SCOPE_LIMIT, description="Boxes with one of these tags"),
    ] = None


def _not_empty(scope: BoxScope) -> BoxScope:
    if scope.boxes is None and scope.kinds is None and scope.tags is None:
        raise CodedValueError(
            "empty_scope",
            "`scope` selects nothing. Name boxes, kinds or tags, or leave `scope` out for every box",
        )
    return scope


SomeBoxes = Annotated[BoxScope, AfterValidator(_not_empty)]
"""A scope with at least one list."""
