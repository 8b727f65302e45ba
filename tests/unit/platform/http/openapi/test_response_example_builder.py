"""Examples of answers, made of their schemas."""

import pytest

from app.platform.http.openapi.response_example_builder import build_example

SCHEMAS = {
    "Leaf": {"type": "object", "properties": {"value": {"type": "number"}, "revoked_at": {"type": "string"}}},
    "Tree": {"type": "object", "properties": {"of": {"$ref": "#/components/schemas/Tree"}}},
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "examples": ["a", "b"]}, "a"),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 3}, 3),
        ({"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]}, "2026-11-24"),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 7}, 8),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        # A word's example is taken where it is of the field's type: here null would be none.
        ({"$ref": "#/components/schemas/Leaf"}, {"value": 31.2, "revoked_at": "…"}),
        ({"type": "null"}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_plainest_value_that_a_schema_allows(schema: dict[str, object], expected: object) -> None:
    assert build_example(schema, SCHEMAS) == expected


def test_what_holds_itself_has_an_end() -> None:
    assert "of" in str(build_example({"$ref": "#/components/schemas/Tree"}, SCHEMAS))
