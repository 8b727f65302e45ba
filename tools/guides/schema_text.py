"""Describes schemas of the OpenAPI document as HTML. Pure.

HTML and not Markdown: Sphinx needs 15 s for the tables of 500 objects, and none to include HTML.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt

type Schema = Mapping[str, Any]

REFERENCE_PREFIX: Final = "#/components/schemas/"
_LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
}
_MAX_VALUES: Final = 12
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False})


class SchemaText:
    """Describes schemas, with links to the objects in them.

    Args:
        pages: The name of the page of each object.
        page: The name of the page on which the descriptions stand.
    """

    def __init__(self, pages: Mapping[str, str], page: str) -> None:
        self._pages = pages
        self._page = page

    def describe_type(self, schema: Schema) -> str:
        """Describe a type."""
        described = self._describe(schema)
        limits = [text.format(schema[key]) for key, text in _LIMITS.items() if key in schema]
        return f"{described} ({', '.join(limits)})" if limits else described

    def _describe(self, schema: Schema) -> str:
        if "$ref" in schema:
            return self._link(schema["$ref"].removeprefix(REFERENCE_PREFIX))
        if "const" in schema:
            return render_code(schema["const"])
        if "enum" in schema:
            return _list_values(schema["enum"])
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(self.describe_type(each) for each in choices))
        return self._describe_plain(schema)

    def _link(self, name: str) -> str:
        page = self._pages[name]
        return f'<a href="{"" if page == self._page else page}#{anchor_object(name)}">{escape(name)}</a>'

    def _describe_plain(self, schema: Schema) -> str:
        kind = schema.get("type", "anything")
        if kind == "array":
            items = schema.get("items")
            return f"list of {self.describe_type(items)}" if items else "list"
        if kind == "object" and isinstance(values := schema.get("additionalProperties"), Mapping) and values:
            return f"object of {self.describe_type(values)}"
        return escape(f"{kind}, {schema['format']}" if "format" in schema else str(kind))

    def render_object(self, schema: Schema) -> str:
        """Render the fields or values of an object."""
        if fields := schema.get("properties"):
            needed = set(schema.get("required", ()))
            rows = [
                (
                    f"<code>{escape(name)}</code>{' (required)' if name in needed else ''}",
                    self.describe_type(each),
                    "; ".join(_list_meanings(each)),
                )
                for name, each in fields.items()
            ]
            return render_table(("field", "type", "meaning"), rows)
        if "enum" in schema:
            return f"<p>One of {', '.join(map(render_code, schema['enum']))}.</p>"
        return f"<p>{self.describe_type(schema)}</p>"


def anchor_object(name: str) -> str:
    """Return the anchor of an object on its page."""
    return f"object-{name.lower()}"


def render_inline(text: str) -> str:
    """Render Markdown within a line."""
    rendered: str = _MARKDOWN.renderInline(" ".join(text.split()))
    return rendered


def render_code(value: object) -> str:
    """Render a JSON value as code."""
    return f"<code>{escape(json.dumps(value, ensure_ascii=False), quote=False)}</code>"


def render_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Render a table.

    Args:
        heads: The headings.
        rows: The cells of each row, as HTML.
    """
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="table-wrapper"><table class="docutils">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _list_values(values: list[Any]) -> str:
    shown = [render_code(value) for value in values[:_MAX_VALUES]]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _list_meanings(schema: Schema) -> Iterator[str]:
    if text := schema.get("description"):
        yield render_inline(text)
    if schema.get("default") not in (None, "", []):
        yield f"default {render_code(schema['default'])}"
