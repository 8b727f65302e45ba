"""The website of the guides: its navigation, its links, and what it asks of the browser."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.guides import build_guides_once
from tests.openapi import openapi_document
from tools.guides.navigation import FIRST_PAGES, READER_GROUPS
from tools.guides.reference_pages import render_curl, render_reference_pages, slugify_tag
from tools.guides.schema_text import SchemaText
from tools.guides.sidebar import render_sidebar
from tools.guides.source_tree import adapt_links, map_pages, render_toctree
from tools.guides.stamp import compute_stamp, is_current

ROOT = Path(__file__).parents[3]
PAGES = {
    "README.md": "readme",
    "docs/rules.md": "rules",
    "docs/decisions/README.md": "decisions/index",
    "docs/decisions/0001-row-shape.md": "decisions/0001-row-shape",
}
LOADING = {"src", "srcset", "poster", "data"}


@dataclass
class SeenPage(HTMLParser):
    """What a page links to and loads, and what its policy forbids."""

    name: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given["id"]} if "id" in given else set()
        self.forbidden += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.forbidden.append(tag)
        self.loaded += [given[name] for name in sorted(LOADING & set(given))]
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "shortcut icon"}:
            self.loaded.append(given["href"])
        elif tag in {"a", "link"} and "href" in given:
            self.links.append(given["href"])


@cache
def seen_pages() -> dict[str, SeenPage]:
    folder = build_guides_once()
    pages = {}
    for path in folder.rglob("*.html"):
        name = path.relative_to(folder).with_suffix("").as_posix()
        page = SeenPage(name)
        page.feed(path.read_text(encoding="utf-8"))
        pages[name] = page
    return pages


def broken_links(page: SeenPage) -> Iterator[str]:
    folder = build_guides_once()
    for link in (*page.links, *page.loaded):
        parts = urlsplit(link)
        if parts.scheme in {"http", "https", "mailto"}:
            continue
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), unquote(parts.path)))
        target = target if parts.path else page.name
        found = seen_pages().get(target)
        if found is None:
            if not (folder / target).is_file() or parts.fragment:
                yield link
        elif parts.fragment and unquote(parts.fragment) not in found.anchors:
            yield link


def test_each_link_of_the_guides_leads_somewhere() -> None:
    assert len(seen_pages()) > 120
    broken = {name: sorted(set(broken_links(page))) for name, page in seen_pages().items()}
    assert {name: links for name, links in broken.items() if links} == {}


def test_a_link_between_pages_names_no_file() -> None:
    """The API serves `rules.html` as `rules`: what people copy from the address bar has no ending."""
    links = {link for page in seen_pages().values() for link in page.links if not urlsplit(link).scheme}
    assert [link for link in links if urlsplit(link).path.endswith((".html", ".md"))] == []


def test_no_page_loads_what_its_policy_forbids() -> None:
    assert {page.name: page.forbidden for page in seen_pages().values() if page.forbidden} == {}
    foreign = {link for page in seen_pages().values() for link in page.loaded if urlsplit(link).netloc}
    assert foreign == set()


def test_styles_load_nothing_from_others() -> None:
    for path in build_guides_once().rglob("*.css"):
        for address in re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", path.read_text()):
            assert "".join(address).startswith("data:"), path.name


def test_github_s_anchors_hold() -> None:
    """Links from elsewhere use them: the console's, Swagger UI's, and those in tickets."""
    for name, anchor in (("people", "signing-in"), ("operations/troubleshooting", "the-brokers-queue-grows")):
        assert anchor in seen_pages()[name].anchors


def test_every_group_names_pages_that_exist() -> None:
    pages = set(map_pages(ROOT).values()) | {"reference/index", "runbooks/index"}
    named = [page for group in READER_GROUPS for page in group.pages]
    assert set(named) - pages == set()
    assert len(named) == len(set(named)), "a page has two places in the navigation"


def test_every_call_and_object_is_in_the_reference() -> None:
    document = openapi_document()
    pages = render_reference_pages(document)
    text = "\n".join(pages.values())
    calls = [
        call for operations in document["paths"].values() for call in operations.values() if "tags" in call
    ]
    assert [
        call["operationId"] for call in calls if f"({call['operationId'].replace('_', '-')})=" not in text
    ] == []
    assert len(re.findall(r"^\(object-", text, re.MULTILINE)) > 400
    assert set(pages) == {
        "reference/index",
        *(f"reference/{slugify_tag(tag['name'])}" for tag in document["tags"]),
    }


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer (at least 1, at most 9)"),
        ({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}, "string, uuid or null"),
        (
            {"type": "array", "items": {"$ref": "#/components/schemas/Box"}},
            'list of <a href="#object-box">Box</a>',
        ),
        ({"$ref": "#/components/schemas/Rule"}, '<a href="rules#object-rule">Rule</a>'),
        ({"const": "a<b"}, '<code>"a&lt;b"</code>'),
        ({"enum": list(range(14))}, ", ".join(f"<code>{n}</code>" for n in range(12)) + " and 2 more"),
    ],
)
def test_types_in_words(schema: dict[str, object], text: str) -> None:
    assert SchemaText({"Box": "boxes", "Rule": "rules"}, "boxes").describe_type(schema) == text


@pytest.mark.parametrize(
    ("method", "call", "line"),
    [
        ("get", {"security": [{"ApiKey": []}]}, 'curl -sS "$API/v1/x" -H "$AUTH"'),
        ("post", {}, 'curl -sS -X POST "$API/v1/x"'),
        (
            "patch",
            {"security": [{"ApiKey": []}], "requestBody": {"content": {"application/json": {}}}},
            (
                'curl -sS -X PATCH "$API/v1/x" -H "$AUTH" '
                "-H 'Content-Type: application/json' --data-binary @body"
            ),
        ),
    ],
)
def test_a_call_as_a_command(method: str, call: dict[str, object], line: str) -> None:
    assert render_curl(method, "/v1/x", call) == line


@pytest.mark.parametrize(
    ("text", "source", "adapted"),
    [
        ("[a](rules.md#silence)", "docs/alerts.md", "[a](rules.md#silence)"),
        ("[a](../README.md)", "docs/rules.md", "[a](readme.md)"),
        ("[a](docs/rules.md)", "README.md", "[a](rules.md)"),
        ("[a](README.md)", "docs/decisions/0001-row-shape.md", "[a](index.md)"),
        ("[a](../rules.md)", "docs/decisions/0001-row-shape.md", "[a](../rules.md)"),
        ("![a](img/x.png)", "docs/rules.md", "![a](img/x.png)"),
        ("[a](asyncapi.yaml)", "docs/rules.md", "[a](guide-file:asyncapi.yaml)"),
        ("[`a`](../app/x.py)", "docs/rules.md", "`a`"),
        ("[a\nb](../LICENSE)", "docs/rules.md", "a\nb"),
        ("[a](https://example.com)", "docs/rules.md", "[a](https://example.com)"),
        ("[a](#silence)", "docs/rules.md", "[a](#silence)"),
        ("a <!-- mark -->\nb", "docs/rules.md", "a b"),
        (
            "```sh\n[a](../app/x.py) <!-- x -->\n```",
            "docs/rules.md",
            "```sh\n[a](../app/x.py) <!-- x -->\n```",
        ),
        (
            "  ```\n[a](../LICENSE)\n  ```\n[a](../LICENSE)",
            "docs/rules.md",
            "  ```\n[a](../LICENSE)\n  ```\na",
        ),
    ],
)
def test_links_of_the_repository_become_links_of_the_guides(text: str, source: str, adapted: str) -> None:
    assert adapt_links(text, source, {**PAGES, "docs/alerts.md": "alerts"}) == adapted


def test_a_folder_lists_its_first_pages_and_then_all_others() -> None:
    texts = {"operations/index": "", "operations/settings": "", "operations/new": ""}
    lines = render_toctree("operations/index", texts).splitlines()
    assert lines[-3:] == ["operations/settings".removeprefix("operations/"), "*", "```"]
    assert "server" in FIRST_PAGES["operations"]
    assert "server" not in lines


def test_the_sidebar_marks_the_page_and_opens_its_folder() -> None:
    titles = {"rules": "Rules <b>", "operations/index": "Operations", "operations/settings": "Settings"}
    html = render_sidebar("operations/settings", titles, {"operations/index": ["operations/settings"]})
    assert '<a class="reference internal" href="../rules">Rules &lt;b&gt;</a>' in html
    assert '<a class="reference internal" href="settings" aria-current="page">Settings</a>' in html
    assert "<input checked" in html
    assert "<input class" in render_sidebar("rules", titles, {"operations/index": ["operations/settings"]})


def test_the_stamp_follows_the_sources(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/a.md",
        "tools/guides/b.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    stamp = compute_stamp(tmp_path)
    built = tmp_path / "build/guides"
    built.mkdir(parents=True)
    assert not is_current(tmp_path)
    (built / "stamp.txt").write_text(stamp)
    assert is_current(tmp_path)
    (tmp_path / "docs/c.md").write_text("x")
    assert not is_current(tmp_path)
    (tmp_path / "docs/c.md").unlink()
    (tmp_path / "docs/a.md").rename(tmp_path / "docs/d.md")
    assert not is_current(tmp_path)
