"""Adds common error responses, shared field descriptions and examples to the OpenAPI document.

Adds the problems that any call can answer with, defined once; descriptions of fields that mean the same
everywhere (`app.platform.http.openapi.shared_descriptions`); and an example of each response. Pure: it
changes a document and reads nothing else. It knows no route by its path.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.platform.http.openapi.response_example_builder import build_example
from app.platform.http.openapi.shared_descriptions import DESCRIPTIONS, PATHS, SCHEMAS

type Node = dict[str, Any]

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch", "head", "options", "trace"})
_SCHEMAS: Final = "#/components/schemas/"
_RESPONSES: Final = "#/components/responses/"
# pydantic's name for `Page[SiteOut]`.
_PAGE: Final = re.compile(r"Page_(\w+?)(?:Out)?_")
# FastAPI's suffixes of schemas that are both input and output, where it considers the two different.
_SENT: Final = "-Input"
_READ: Final = "-Output"
_SIDE: Final = re.compile(f"{_SENT}|{_READ}")
_SIGNS: Final = {"*": "ALL", "<": "BELOW", "<=": "AT_MOST", ">": "ABOVE", ">=": "AT_LEAST"}
_REQUEST_ID: Final = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_HEADERS: Final[Node] = {
    "RequestId": {
        "description": "This request's id. Quote it when you contact the operator",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "Seconds after which to retry", "schema": {"type": "integer"}},
    "WwwAuthenticate": {"description": "How to sign in", "schema": {"type": "string"}},
}
_OF_STATUS: Final = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
# FastAPI's default description.
_DEFAULT_DESCRIPTION: Final = "Successful Response"


def iterate_operations(document: Node) -> Iterator[tuple[str, str, Node]]:
    """Yield each operation of a document: its path, its method, its content."""
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def finalize_document(document: Node, problems: Mapping[str, Node]) -> None:
    """Complete a document.

    Args:
        document: The document from FastAPI. It is changed.
        problems: By status, the response of each problem (`application/problem+json`, with its example).
    """
    _merge_twins(document)
    _rename_pages(document)
    _hoist(document)
    components = document["components"]
    schemas: Node = components["schemas"]
    components["headers"] = dict(_HEADERS)
    named = {status: _name(problem) for status, problem in problems.items()}
    for _, _, operation in iterate_operations(document):
        # Always explicit: otherwise a reader cannot distinguish a public call from a forgotten key.
        operation.setdefault("security", [])
        _word_parameters(operation)
        _name_problems(operation, named)
    components["responses"] = {
        named[status]: _with_headers(status, problem) for status, problem in sorted(problems.items())
    }
    for name, schema in schemas.items():
        _word_schema(name, schema)
    _share_enumerations(document)
    _name_members(document)
    for _, _, operation in iterate_operations(document):
        for status, answer in operation["responses"].items():
            if "$ref" not in answer:
                _complete(operation, status, answer, schemas)
    _drop_unused(document)


def list_common_problems(path: str, operation: Node) -> set[str]:
    """Return the statuses of the problems that an operation can answer with whatever its route says.

    They come from authentication, parameters and a body where it has them, and from the middleware.
    """
    if not path.startswith("/v1/"):
        return set()
    statuses = {"414", "429", "431", "500", "503", "504"}
    if operation.get("security"):
        statuses.add("401")
    if operation.get("parameters"):
        statuses |= {"413", "422"}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        statuses.add("404")
    if "requestBody" in operation:
        statuses |= {"400", "408", "413", "415", "422"}
    return statuses | {"422"}


def _rename_pages(document: Node) -> None:
    """Rename `Page[SiteOut]` to `SitePage`: schema names become classes in generated clients."""
    schemas = document["components"]["schemas"]
    _rename(document, {name: f"{found[1]}Page" for name in schemas if (found := _PAGE.fullmatch(name))})


def _merge_twins(document: Node) -> None:
    """Merge input and output schemas of the same shape: FastAPI doubles schemas that contain themselves."""
    schemas = document["components"]["schemas"]
    twins = [name.removesuffix(_SENT) for name in schemas if name.endswith(_SENT)]
    texts = {
        name: json.dumps(schema).replace(_SENT, "").replace(_READ, "") for name, schema in schemas.items()
    }
    same = [name for name in twins if texts[name + _SENT] == texts.get(name + _READ)]
    if same == twins:
        _rename(document, {name + suffix: name for name in same for suffix in (_READ, _SENT)})


def _rename(document: Node, names: Mapping[str, str]) -> None:
    """Rename schemas."""
    schemas = document["components"]["schemas"]
    for former, name in names.items():
        schemas[name] = {**schemas.pop(former), "title": name}
    for node in _objects(document):
        for key, value in node.items():
            if isinstance(value, str) and value.startswith(_SCHEMAS):
                name = value.removeprefix(_SCHEMAS)
                node[key] = _SCHEMAS + names.get(name, name)


def _objects(node: object) -> Iterator[Node]:
    """Yield each object in a part of the document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)


def _holders(node: object) -> Iterator[Node]:
    """Yield each object with a reference."""
    return (each for each in _objects(node) if isinstance(each.get("$ref"), str))


def _hoist(document: Node) -> None:
    """Move titled objects that a route describes inline to the schemas."""
    schemas = document["components"]["schemas"]
    for _, _, operation in iterate_operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            # The innermost first, so that outer objects are moved complete.
            for node in reversed(list(_objects(content.get("schema")))):
                if node.get("type") == "object" and "title" in node and "properties" in node:
                    name = node["title"]
                    schemas[name] = dict(node)
                    node.clear()
                    node["$ref"] = _SCHEMAS + name


def _name(problem: Node) -> str:
    return "".join(word.capitalize() for word in re.findall(r"[A-Za-z]+", problem["description"]))


def _with_headers(status: str, problem: Node) -> Node:
    headers: Node = dict(_REQUEST_ID)
    if status in _OF_STATUS:
        name = _OF_STATUS[status]
        headers[name] = {"$ref": f"#/components/headers/{name.title().replace('-', '')}"}
    return {**problem, "headers": headers}


def _name_problems(operation: Node, named: Mapping[str, str]) -> None:
    """Replace an operation's problems by references to the shared ones."""
    answers = operation["responses"]
    for status, answer in answers.items():
        content = answer.get("content", {})
        if status in named and list(content) == ["application/problem+json"]:
            answers[status] = {"$ref": _RESPONSES + named[status]}
    operation["responses"] = dict(sorted(answers.items()))


def _word_parameters(operation: Node) -> None:
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        if parameter["in"] == "path":
            word = PATHS.get(parameter["name"], {})
            noun = parameter["name"].removesuffix("_id").replace("_", " ")
            parameter.setdefault("description", word.get("description", f"The {noun}'s id"))
            for key, value in word.items():
                if key != "description":
                    schema.setdefault(key, value)
            # Ids with examples of their own are of standards: URNs, numbers of boxes.
            if not word and parameter["name"].endswith("_id") and "examples" not in schema:
                schema.setdefault("format", "uuid")
        else:
            # A query and a header cannot be null, only left out.
            _drop_null(schema)


def _drop_null(schema: Node) -> None:
    others = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(others) == 1 and len(schema["anyOf"]) > 1:
        del schema["anyOf"]
        for key, value in others[0].items():
            schema.setdefault(key, value)
    elif others and len(others) < len(schema["anyOf"]):
        schema["anyOf"] = others


def _word_schema(name: str, schema: Node) -> None:
    if "description" not in schema:
        of_page = (
            "One page of a list. Send `next` as `cursor` to get the next one."
            if name.endswith("Page")
            else None
        )
        described = SCHEMAS.get(name, of_page)
        if described is not None:
            schema["description"] = described
    for example in schema.get("examples", ()):
        _restore_nulls(example, schema)
    for field, content in schema.get("properties", {}).items():
        described = DESCRIPTIONS.get(f"{name}.{field}", DESCRIPTIONS.get(field))
        if described is not None and "description" not in content and "$ref" not in content:
            content["description"] = described


def _share_enumerations(document: Node) -> None:
    """Replace enumerations by the named one with the same values: clients then get one class for it."""
    schemas = document["components"]["schemas"]
    named = {tuple(schema["enum"]): name for name, schema in schemas.items() if "enum" in schema}
    for part in (document.get("paths"), document.get("webhooks"), *schemas.values()):
        for holder in [each for each in _objects(part) if isinstance(each.get("enum"), list)]:
            name = named.get(tuple(holder["enum"]))
            if name is not None and holder is not schemas[name]:
                for key in ("enum", "type", "title"):
                    holder.pop(key, None)
                holder["$ref"] = _SCHEMAS + name


def _name_members(document: Node) -> None:
    """Name the members of an enumeration whose values are no identifiers: `*`, `sites:read`."""
    for node in list(_objects(document["paths"])) + list(_objects(document["components"]["schemas"])):
        words = node.get("enum")
        if isinstance(words, list) and not all(str(word).isidentifier() for word in words):
            # Explicit names take precedence.
            node.setdefault("x-enum-varnames", [_member(str(word)) for word in words])


def _member(word: str) -> str:
    """Return the identifier of a member; a reversed order differs from the order itself."""
    turned = "_DESCENDING" if re.match(r"-\w", word) else ""
    return _SIGNS.get(word) or re.sub(r"\W+", "_", word).strip("_").upper() + turned


def _restore_nulls(example: object, schema: Node) -> None:
    """Restore the nulls that FastAPI removes from the example of an object."""
    if isinstance(example, dict):
        for field in schema.get("required", ()):
            if {"type": "null"} in schema["properties"][field].get("anyOf", ()):
                example.setdefault(field, None)


def _complete(operation: Node, status: str, answer: Node, schemas: Node) -> None:
    """Add a description and an example to a response whose route has none."""
    answer.setdefault("headers", {}).update(_REQUEST_ID)
    for media_type, content in answer.get("content", {}).items():
        schema = content.setdefault("schema", {"type": "string"})
        if answer.get("description") == _DEFAULT_DESCRIPTION and "$ref" in schema:
            target = schemas[schema["$ref"].removeprefix(_SCHEMAS)]
            answer["description"] = target.get("description", _DEFAULT_DESCRIPTION).partition("\n")[0]
        if media_type == "application/json" and not {"example", "examples"} & content.keys():
            content["example"] = build_example(schema, schemas)
    if answer.get("description") == _DEFAULT_DESCRIPTION:
        answer["description"] = "Done. The response has no body" if status == "204" else operation["summary"]


def _drop_unused(document: Node) -> None:
    """Remove the schemas and responses without a reference."""
    components = document["components"]
    waiting = [document.get("paths"), document.get("webhooks")]
    used: set[str] = set()
    while waiting:
        for holder in _holders(waiting.pop()):
            reference = holder["$ref"]
            if reference not in used:
                used.add(reference)
                kind, name = reference.removeprefix("#/components/").split("/", 1)
                waiting.append(components.get(kind, {}).get(name))
    for kind in ("schemas", "responses", "headers"):
        for name in [each for each in components[kind] if f"#/components/{kind}/{each}" not in used]:
            del components[kind][name]
