"""Renders the OpenAPI document as pages of the guides: a page for each tag, with its calls and objects. Pure.

An object stands on the page of the first call that uses it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tools.guides.schema_text import (
    REFERENCE_PREFIX,
    SchemaText,
    anchor_object,
    render_code,
    render_inline,
    render_table,
)

type Document = Mapping[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_JSON: Final = "application/json"
_OK: Final = range(200, 300)
_INTRODUCTION: Final = """# API reference

Every call of the API, by subject, with its parameters, body, answers and an example. The pages are made from
the OpenAPI document of this version. The [API guide](../api.md) explains keys, errors, pages of lists, limits
and idempotency. In a running installation, Swagger UI at `/docs` sends calls, and `/openapi.json` is for
generators of clients.

The examples use two variables: `$API`, the address of the API, and `$AUTH`, the header with your key
(`Authorization: Bearer vg_…`).

| subject | calls | what |
| --- | --- | --- |
"""


def render_reference_pages(document: Document) -> dict[str, str]:
    """Render the pages, by their name.

    Args:
        document: The OpenAPI document.
    """
    owners = _assign_objects(document)
    pages = {}
    index = _INTRODUCTION
    for tag in document["tags"]:
        name = slugify_tag(tag["name"])
        calls = list(_list_calls(document, tag["name"]))
        pages[f"reference/{name}"] = _render_page(document, tag, calls, owners)
        index += f"| [{tag['name']}]({name}.md) | {len(calls)} | {tag['description']} |\n"
    return {"reference/index": index, **pages}


def slugify_tag(name: str) -> str:
    """Return the name of the page of a tag."""
    return re.sub(r"[^a-z]+", "-", name.lower().replace("'", "")).strip("-")


def _list_calls(document: Document, tag: str) -> Iterator[tuple[str, str, Document]]:
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations and tag in operations[method]["tags"]:
                yield method, path, operations[method]


def _assign_objects(document: Document) -> dict[str, str]:
    """Assign each schema to the first tag whose calls use it."""
    owners: dict[str, str] = {}
    schemas = document["components"]["schemas"]
    for tag in document["tags"]:
        names = [name for _, _, call in _list_calls(document, tag["name"]) for name in _list_references(call)]
        for name in names:
            # The loop also visits what it appends.
            if name not in owners:
                owners[name] = tag["name"]
                names += _list_references(schemas[name])
    return owners


def _list_references(node: object) -> list[str]:
    found = re.findall(rf'"\$ref": "{REFERENCE_PREFIX}([^"]+)"', json.dumps(node))
    return list(dict.fromkeys(found))


def _render_page(
    document: Document, tag: Document, calls: list[tuple[str, str, Document]], owners: Mapping[str, str]
) -> str:
    schemas = document["components"]["schemas"]
    pages = {name: slugify_tag(owner) for name, owner in owners.items()}
    text = SchemaText(pages, slugify_tag(tag["name"]))
    guide = tag.get("externalDocs", {}).get("url", "").partition("/docs/guides/")[2]
    page, _, anchor = guide.partition("#")
    lead = f"{tag['description']}."
    if page:
        lead += f" [Guide](../{page}.md{f'#{anchor}' if anchor else ''})."
    parts = [f"# {tag['name']}", lead]
    for call in calls:
        parts += _render_call(text, document, *call)
    objects = sorted(name for name, owner in owners.items() if owner == tag["name"])
    if objects:
        parts.append("## Objects")
    for name in objects:
        parts += [
            f"({anchor_object(name)})=\n### {name}",
            schemas[name].get("description", ""),
            _raw(text.render_object(schemas[name])),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


def _render_call(
    text: SchemaText, document: Document, method: str, path: str, call: Document
) -> Iterator[str]:
    yield f"({call['operationId'].replace('_', '-')})=\n## {call['summary']}"
    yield _raw(f'<div class="call"><code>{method.upper()}</code> <code>{path}</code></div>')
    yield _describe(call)
    if not call.get("security"):
        yield "Needs no key."
    if parameters := call.get("parameters"):
        yield "**Parameters**"
        yield _raw(_render_parameters(text, parameters))
    yield from _render_body(text, call)
    yield from _render_answers(text, document, call)
    yield f"```sh\n{render_curl(method, path, call)}\n```"


def _describe(call: Document) -> str:
    """Return the description without its first sentence if that only repeats the summary."""
    text: str = call["description"]
    return re.sub(r"\]\(/docs/guides/([^)#]+)(#[^)]*)?\)", r"](../\1.md\2)", text)


def _render_parameters(text: SchemaText, parameters: list[Document]) -> str:
    rows = [
        (
            f"<code>{each['name']}</code>{' (required)' if each.get('required') else ''}",
            each["in"],
            text.describe_type(each["schema"]),
            _meaning(each),
        )
        for each in parameters
    ]
    return render_table(("name", "in", "type", "meaning"), rows)


def _meaning(parameter: Document) -> str:
    default = parameter["schema"].get("default")
    meaning = render_inline(parameter.get("description", ""))
    return meaning if default in (None, "", []) else f"{meaning}; default {render_code(default)}"


def _render_body(text: SchemaText, call: Document) -> Iterator[str]:
    body = call.get("requestBody")
    if not body:
        return
    kinds = [
        (f"<code>{kind}</code>", text.describe_type(each["schema"])) for kind, each in body["content"].items()
    ]
    yield "**Body**" + ("" if body.get("required") else " (optional)")
    yield _raw(render_table(("media type", "type"), kinds))
    content = body["content"].get(_JSON, {})
    if "example" in content:
        yield _fence(content["example"])
    for number, example in enumerate(content.get("examples", {}).values()):
        block = _fence(example["value"])
        # The first one is open.
        yield block if number == 0 else _fold(example.get("summary", "Example"), block)


def _render_answers(text: SchemaText, document: Document, call: Document) -> Iterator[str]:
    rows = []
    example = ""
    refusals = []
    for status, raw in call["responses"].items():
        if not (status.isdigit() and int(status) in _OK):
            refusals.append(status)
            continue
        answer = _resolve(document, raw)
        content = answer.get("content", {})
        kinds = [
            f"<code>{kind}</code> {text.describe_type(each.get('schema', {}))}"
            for kind, each in content.items()
        ]
        rows.append((status, render_inline(answer["description"]), "<br>".join(kinds)))
        shown = content.get(_JSON, {}).get("example")
        if shown is not None and not example:
            example = _fold(f"Example of an answer ({status})", _fence(shown))
    yield "**Answers**"
    yield _raw(render_table(("status", "answer", "body"), rows))
    if example:
        yield example
    if refusals:
        yield f"Errors: {', '.join(refusals)}, as [problems](../api.md#errors)."


def _resolve(document: Document, node: Document) -> Document:
    while "$ref" in node:
        found: Any = document
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        node = found
    return node


def _fence(value: object) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def _fold(title: str, block: str) -> str:
    return f"<details>\n<summary>{_escape(title)}</summary>\n\n{block}\n\n</details>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def render_curl(method: str, path: str, call: Document) -> str:
    """Render a call as a command line of curl."""
    words = ["curl -sS", f"-X {method.upper()}" if method not in {"get", "post"} else "", f'"$API{path}"']
    if call.get("security"):
        words.append('-H "$AUTH"')
    content = call.get("requestBody", {}).get("content", {})
    if content:
        kind = _JSON if _JSON in content else next(iter(content))
        words.append(f"-H 'Content-Type: {kind}' --data-binary @body")
    elif method == "post":
        words.insert(1, "-X POST")
    return " ".join(word for word in words if word)


def render_reference() -> dict[str, str]:
    """Render the pages of this version's OpenAPI document."""
    # Imported here: importing the program takes a second or two.
    from app.processes.api_application import create_app  # noqa: PLC0415
    from tools.default_settings import default_settings  # noqa: PLC0415

    return render_reference_pages(create_app(default_settings()).openapi())
