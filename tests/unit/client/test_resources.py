from typing import Any

import pytest

from app.client.resources import RESOURCES, Resource
from tests.openapi import openapi_document


def _find_operation(path: str) -> dict[str, Any]:
    """The operation of a path, whatever the document calls its parameter."""
    for known, item in openapi_document()["paths"].items():
        parts, wanted = known.split("/"), path.split("/")
        if len(parts) == len(wanted) and all(
            a == b or (a.startswith("{") and b == "{id}") for a, b in zip(parts, wanted, strict=True)
        ):
            found: dict[str, Any] = item["get"]
            return found
    raise AssertionError(path)


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolve(openapi_document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return schema


def _list_fields(schema: dict[str, Any], prefix: str = "") -> set[str]:
    schema = _resolve(schema)
    found = set()
    for option in schema.get("anyOf", schema.get("oneOf", [])):
        found |= _list_fields(option, prefix)
    for name, field in schema.get("properties", {}).items():
        found |= {prefix + name, *_list_fields(field, f"{prefix}{name}.")} if prefix.count(".") < 2 else set()
    return found


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_is_what_the_api_has(name: str) -> None:
    resource: Resource = RESOURCES[name]
    operation = _find_operation(resource.path)
    parameters = {each["name"]: each for each in operation.get("parameters", [])}
    limit = parameters.get("limit", {"schema": {"maximum": 0}})["schema"]["maximum"]
    assert resource.page_limit == limit
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    if resource.shape == "entries":
        (entries,) = [_resolve(schema)["properties"]["data"]["items"]]
        assert set(resource.columns) <= _list_fields(entries)
    if resource.entry:
        assert _find_operation(resource.entry)
    assert ("{id}" in resource.path) == bool(resource.id_of)
