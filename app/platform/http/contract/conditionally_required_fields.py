"""Reports all missing fields of a body together, including those that are required only in combination.

A validator of a whole model runs only after its fields are valid: without this, the client would learn of
some faults in a second response.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ModelWrapValidatorHandler, ValidationError
from pydantic_core import InitErrorDetails

from app.platform.http.contract.problems import CodedValueError


class MissingField(NamedTuple):
    """A missing field.

    Attributes:
        field: Its name.
        error: The code, and what to do.
    """

    field: str
    error: CodedValueError


def validate_with_missing[M](
    given: object, handler: ModelWrapValidatorHandler[M], lacking: Sequence[MissingField]
) -> M:
    """Validate a body in a wrap validator, and report missing fields together with all other faults.

    Args:
        given: The body.
        handler: The wrap validator's handler.
        lacking: The missing fields.

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
