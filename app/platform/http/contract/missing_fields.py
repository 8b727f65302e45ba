"""Names all that is missing from a body at once: fields that are required only together, beside all others.

A validator of a whole model runs once its fields are valid: what it misses would be named in a second answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ModelWrapValidatorHandler, ValidationError
from pydantic_core import InitErrorDetails

from app.platform.http.contract.problems import CodedValueError


class MissingField(NamedTuple):
    """A field that is missing.

    Attributes:
        field: Its name.
        error: The code, and what to do.
    """

    field: str
    error: CodedValueError


def validate_with_missing[M](
    given: object, handler: ModelWrapValidatorHandler[M], lacking: Sequence[MissingField]
) -> M:
    """Validate a body in a wrap validator, and name what is missing together with all other faults.

    Args:
        given: The body.
        handler: The wrap validator's.
        lacking: What the body lacks.

    Raises:
        ValidationError: With the faults of the fields, and those of `lacking`.
    """
    missing = [
        InitErrorDetails(
            type="value_error",
            loc=(each.field,),
            input=None,
            ctx={"error": each.error},
        )
        for each in lacking
    ]
    try:
        made = handler(given)
    except ValidationError as error:
        if not missing:
            raise
        found = [
            InitErrorDetails(
                type=fault["type"], loc=fault["loc"], input=fault["input"], ctx=fault.get("ctx", {})
            )
            for fault in error.errors()
        ]
        raise ValidationError.from_exception_data(error.title, [*found, *missing]) from None
    if missing:
        raise ValidationError.from_exception_data(type(made).__name__, missing)
    return made
