"""What kinds, tags and attributes may look like."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.platform.http.contract.problems import get_field_error_code
from app.registry.box_schemas import BoxChange, BoxCreate
from app.registry.labels import ATTRIBUTES_MAX, TAGS_MAX

BOX = {"id": "box-0001", "site_id": "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"}


def refusal(field: str, value: Any) -> str:  # noqa: ANN401 (whatever JSON holds)
    with pytest.raises(ValidationError) as refused:
        BoxCreate.model_validate({**BOX, field: value})
    error = refused.value.errors()[0]
    assert error["loc"][0] == field
    return get_field_error_code(dict(error))


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        *(
            ("kind", kind, "invalid_kind")
            for kind in ("", "A", "a b", "é", "a" * 65, "a\n", "a\0", "a\u202e")
        ),
        ("kind", 1, "wrong_type"),
        *(("tags", [tag], "invalid_tag") for tag in ("", "a b", "a|b", "é", "a" * 65, "a\n", "a\0", "a,b")),
        ("tags", "a", "wrong_type"),
        ("tags", [1], "wrong_type"),
        ("tags", [None], "wrong_type"),
        ("tags", [f"t{n}" for n in range(TAGS_MAX + 1)], "invalid_value"),
        *(
            ("attributes", {name: 1}, "invalid_attribute")
            for name in ("", "A", "9a", "_a", "a-b", "a" * 64, "a\n", "a\0")
        ),
        ("attributes", {"a": True}, "wrong_type"),
        ("attributes", {"a": None}, "wrong_type"),
        ("attributes", {"a": [1]}, "wrong_type"),
        ("attributes", {"a": {}}, "wrong_type"),
        ("attributes", [], "wrong_type"),
        *(("attributes", {"a": n}, "invalid_value") for n in (float("nan"), float("inf"), 10**309)),
        ("attributes", {"a": "x" * 201}, "text_too_long"),
        ("attributes", {"a": ""}, "invalid_text"),
        ("attributes", {"a": "\0"}, "nul_in_text"),
        ("attributes", {"a": "\u202e"}, "invalid_text"),
        ("attributes", {"a": "e\u0301"}, "name_not_normalised"),
        ("attributes", {f"a{n}": n for n in range(ATTRIBUTES_MAX + 1)}, "invalid_value"),
    ],
)
def test_what_is_refused(field: str, value: object, code: str) -> None:
    assert refusal(field, value) == code


def test_the_longest_are_taken() -> None:
    tags = [f"{n:064}" for n in range(TAGS_MAX)]
    attributes = {f"a{n:062}": "x" * 200 for n in range(ATTRIBUTES_MAX)}
    box = BoxCreate.model_validate({**BOX, "kind": "a" * 64, "tags": tags, "attributes": attributes})
    assert (box.kind, box.tags, box.attributes) == ("a" * 64, tags, attributes)


def test_tags_keep_their_order_each_once_and_numbers_are_floats() -> None:
    box = BoxCreate.model_validate(
        {**BOX, "tags": ["b", "a", "b"], "attributes": {"limit": 55, "low": -1e300}}
    )
    assert box.tags == ["b", "a"]
    assert json.dumps(box.attributes) == '{"limit": 55.0, "low": -1e+300}'


def test_null_takes_all_away() -> None:
    change = BoxChange.model_validate({"kind": None, "tags": None, "attributes": None})
    assert (change.kind, change.tags, change.attributes) == (None, [], {})
    assert change.model_fields_set == {"kind", "tags", "attributes"}
