from collections.abc import Mapping
from typing import Self

import pytest
from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator

from app.platform.http.contract.conditionally_required_fields import MissingField, validate_with_missing
from app.platform.http.contract.problems import CodedValueError, get_field_error_code


class Door(BaseModel):
    name: str
    width: float = 1.0
    key: str | None = None
    code: str | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        locked = isinstance(given, Mapping) and ("key" in given or "code" in given)
        lacking = (
            [] if locked else [MissingField("key", CodedValueError("lock_required", "Give `key` or `code`"))]
        )
        return validate_with_missing(given, handler, lacking)


def faults(given: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Door.model_validate(given)
    return [(fault["loc"], get_field_error_code(fault)) for fault in caught.value.errors()]


def test_what_is_missing_stands_beside_all_other_faults() -> None:
    assert faults({"width": "wide"}) == [
        (("name",), "missing_field"),
        (("width",), "wrong_type"),
        (("key",), "lock_required"),
    ]


def test_what_is_missing_alone_is_named_too() -> None:
    assert faults({"name": "front"}) == [(("key",), "lock_required")]


def test_other_faults_are_as_ever() -> None:
    assert faults({"key": "x"}) == [(("name",), "missing_field")]
    assert Door.model_validate({"name": "front", "code": "1"}).code == "1"
