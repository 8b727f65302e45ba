"""Whatever a body holds too much of, few faults of it are made: each takes its time and its memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

import app.processes.api_application  # noqa: F401 (it has all of them)
from app.platform.http.contract.fields import RequestBody
from app.registry.box_schemas import BoxesCreate

MANY = 2_000
FEW = 40
MUCH: tuple[Any, ...] = (
    [{}] * MANY,
    [0] * MANY,
    ["a"] * MANY,
    {f"a{number}": {} for number in range(MANY)},
)


def models(base: type[RequestBody]) -> Iterator[type[RequestBody]]:
    for each in base.__subclasses__():
        yield each
        yield from models(each)


BODIES = sorted({each for each in models(RequestBody) if each.__module__.startswith("app.")}, key=repr)


def faults(model: type[RequestBody], body: object) -> int:
    try:
        model.model_validate(body)
    except ValidationError as error:
        return error.error_count()
    return 0


@pytest.mark.parametrize("model", BODIES)
def test_too_much_of_anything_makes_few_faults(model: type[RequestBody]) -> None:
    assert faults(model, MUCH[-1]) <= FEW
    many = {
        name: found
        for name, field in model.model_fields.items()
        if (found := max(faults(model, {field.alias or name: value}) for value in MUCH)) > FEW
    }
    assert many == {}


def test_there_are_bodies() -> None:
    assert BoxesCreate in BODIES
    assert len(BODIES) > 50


def test_of_many_boxes_as_many_are_looked_at_as_have_faults_to_tell() -> None:
    boxes = [{"id": f"b-{number}", "tags": ["a b"] * 15} for number in range(900)]
    with pytest.raises(ValidationError) as caught:
        BoxesCreate.model_validate({"boxes": boxes})
    assert [each["loc"][:2] for each in caught.value.errors()] == [("boxes", 0)] * 16 + [("boxes", 1)] * 16


def test_what_is_unknown_is_named_as_far_as_it_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        BoxesCreate.model_validate({f"a{number}": 0 for number in range(MANY)})
    told = [(each["type"], each["loc"]) for each in caught.value.errors()]
    assert told == [
        ("missing", ("boxes",)),
        *(("extra_forbidden", (f"a{number}",)) for number in range(20)),
    ]
