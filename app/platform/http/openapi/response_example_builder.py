"""Builds examples of responses from their schemas in the OpenAPI document.

In this order: an example of the schema or the field, a shared example of
`app.platform.http.openapi.shared_descriptions`, the simplest value that the schema allows. Pure and
deterministic: each process produces the same document.
"""

from typing import Any, Final

from app.platform.http.openapi.shared_descriptions import EXAMPLES

type Node = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_FORMATS: Final = {
    "uuid": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
    "date-time": "2026-11-24T10:00:00Z",
    "date": "2026-11-24",
    "uri": "https://example.com/vigie",
    "duration": "PT10M",
}
# A schema may contain itself, as the conditions of rules do.
_DEEPEST: Final = 24
_UNSET: Final = object()


def build_example(schema: Node, schemas: Node) -> object:
    """Return an example of a schema, as JSON.

    Args:
        schema: Any schema of the document.
        schemas: Its `components.schemas`.
    """
    return _example(schema, schemas, _DEEPEST)


def _example(schema: Node, schemas: Node, depth: int) -> object:
    given = _given(schema)
    if given is not _UNSET or depth == 0:
        return None if given is _UNSET else given
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].removeprefix(_SCHEMAS)], schemas, depth - 1)
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        first = next((each for each in alternatives if each != {"type": "null"}), alternatives[0])
        return _example(first, schemas, depth - 1)
    return _of_type(schema, schemas, depth)


def _given(schema: Node) -> object:
    if "example" in schema:
        return schema["example"]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    return schema.get("const", _UNSET)


def _of_type(schema: Node, schemas: Node, depth: int) -> object:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {
            name: _field(name, content, schemas, depth)
            for name, content in schema.get("properties", {}).items()
        }
    if kind == "array":
        return [_example(schema.get("items", {}), schemas, depth - 1)]
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "…")
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return kind == "boolean" or None


def _field(name: str, content: Node, schemas: Node, depth: int) -> object:
    if _given(content) is _UNSET and name in EXAMPLES:
        value = EXAMPLES[name]
        if _fits(value, content):
            return value
    return _example(content, schemas, depth - 1)


def _fits(value: object, content: Node) -> bool:
    """Return whether a shared example is of a field's type: one name may have two meanings."""
    kinds = {content.get("type")} | {each.get("type") for each in content.get("anyOf", ())}
    named = {
        type(None): {"null"},
        bool: {"boolean"},
        int: {"integer", "number"},
        float: {"number"},
        str: {"string"},
        list: {"array"},
        dict: {"object"},
    }
    return bool(kinds & named[type(value)])
