"""Validates the labels of sites and boxes: kind, tags and attributes. Lists and rules select by them."""

import math
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from app.platform.http.contract.fields import NAME_LIMIT, NAME_PATTERN, check_text, limit_field_count
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value

TAGS_MAX: Final = 20
ATTRIBUTES_MAX: Final = 50
_BOX_KIND_PATTERN: Final = r"^[a-z0-9_-]{1,64}$"
_TAG_PATTERN: Final = r"^[A-Za-z0-9:_./-]{1,64}$"
_NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,62}$"
_BOX_KIND: Final = re.compile(r"[a-z0-9_-]{1,64}")
_TAG: Final = re.compile(r"[A-Za-z0-9:_./-]{1,64}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")

type AttributeValue = float | str


def check_box_kind(value: str) -> str:
    """Check a box's kind (CodedValueError `invalid_kind`)."""
    if _BOX_KIND.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_kind",
            f"{format_rejected_value(value)}: a box's kind has 1 to 64 of the characters a-z 0-9 _ -",
        )
    return value


def check_tag(value: str) -> str:
    """Check one tag (CodedValueError `invalid_tag`)."""
    if _TAG.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_tag",
            f"{format_rejected_value(value)}: a tag has 1 to 64 of the characters A-Z a-z 0-9 : _ . / -",
        )
    return value


def check_attribute_name(value: str) -> str:
    """Check an attribute's name, which rules refer to (CodedValueError `invalid_attribute`)."""
    if _NAME.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_attribute",
            f"{format_rejected_value(value)}: an attribute's name has a lower-case letter, then up to 62 of "
            "a-z 0-9 _",
        )
    return value


def check_attribute_value(value: object) -> AttributeValue:
    """Check an attribute's value: a finite number, or a text of at most 200 characters.

    Returns:
        The value; numbers as `float`, for they are compared with measured values.

    Raises:
        CodedValueError: `wrong_type`, `invalid_value`, and the codes of a name's text.
    """
    if isinstance(value, str):
        return check_text(value, limit=NAME_LIMIT)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CodedValueError("wrong_type", "An attribute is a number or a text")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CodedValueError("invalid_value", "An attribute's number must be finite (double precision)")
    return number


def _each_once(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _or_empty[T](empty: type[T], sent: object) -> BeforeValidator:
    """Accept null as the empty value, which removes all. `sent` is the type in the JSON schema."""
    return BeforeValidator(lambda value: empty() if value is None else value, json_schema_input_type=sent)


BoxKind = Annotated[
    str,
    AfterValidator(check_box_kind),
    WithJsonSchema({"type": "string", "pattern": _BOX_KIND_PATTERN}),
]
"""A box's kind."""

Tag = Annotated[str, AfterValidator(check_tag), WithJsonSchema({"type": "string", "pattern": _TAG_PATTERN})]
"""One tag."""

Tags = Annotated[
    list[Tag],
    Field(
        max_length=TAGS_MAX,
        description=f"Up to {TAGS_MAX} tags without duplicates; the order is preserved. null: none",
        examples=[["quai", "lot:2026-11"]],
    ),
    AfterValidator(_each_once),
    _or_empty(list, Annotated[list[Tag], Field(max_length=TAGS_MAX)] | None),
]
"""A box's tags."""

AttributeName = Annotated[
    str, AfterValidator(check_attribute_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})
]
"""An attribute's name."""

_AttributeValue = Annotated[AttributeValue, PlainValidator(check_attribute_value)]
# Pydantic would write the pattern of names as `patternProperties`, which allows all other names.
_ATTRIBUTES_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "maxProperties": ATTRIBUTES_MAX,
    "propertyNames": {"type": "string", "pattern": _NAME_PATTERN},
    "additionalProperties": {
        "anyOf": [
            {"type": "number"},
            {"type": "string", "minLength": 1, "maxLength": NAME_LIMIT, "pattern": NAME_PATTERN},
        ]
    },
}
Attributes = Annotated[
    dict[AttributeName, _AttributeValue],
    Field(
        max_length=ATTRIBUTES_MAX,
        description=f"Up to {ATTRIBUTES_MAX} numbers and texts by name; rules can use numbers as thresholds. "
        "Replaced as a whole; null: none",
        examples=[{"night_limit": 55.0, "street": "rue de Metz"}],
    ),
    limit_field_count(ATTRIBUTES_MAX, "attributes"),
    WithJsonSchema(_ATTRIBUTES_SCHEMA, mode="serialization"),
    _or_empty(dict, Annotated[dict[str, AttributeValue], WithJsonSchema(_ATTRIBUTES_SCHEMA)] | None),
]
"""The attributes of a site or a box."""
