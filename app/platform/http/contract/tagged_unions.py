"""Reports errors of a union of models by the client's own field paths.

Pydantic inserts the chosen model's tag into each path: `body.sink.webhook.url`.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails

from app.platform.http.contract.problems import CodedValueError


def untag_errors(kinds: Sequence[str], title: str) -> WrapValidator:
    """Build a validator for a union whose models differ by `kind`.

    Args:
        kinds: The values of `kind`.
        title: The name of the union in pydantic's errors.
    """

    def validate_untagged(value: object, validate: ValidatorFunctionWrapHandler) -> Any:  # noqa: ANN401 (pydantic's)
        kind = value.get("kind") if isinstance(value, dict) else None
        if isinstance(value, dict) and not (isinstance(kind, str) and kind in kinds):
            code = "invalid_value" if "kind" in value else "missing_field"
            error = CodedValueError(code, f"`kind` has to be {', '.join(kinds[:-1])} or {kinds[-1]}")
            detail = InitErrorDetails(type="value_error", loc=("kind",), input=None, ctx={"error": error})
            raise ValidationError.from_exception_data(title, [detail])
        try:
            return validate(value)
        except ValidationError as invalid:
            details = [
                InitErrorDetails(
                    type=each["type"],
                    loc=each["loc"][1:],
                    input=each["input"],
                    ctx=each.get("ctx", {}),
                )
                for each in invalid.errors()
            ]
            raise ValidationError.from_exception_data(title, details) from None

    return WrapValidator(validate_untagged)
