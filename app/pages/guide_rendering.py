"""Renders the guides of the project from Markdown to HTML. Pure, except that it reads the files.

Links between guides lead to their pages. Links to files that are not served, such as modules of the program,
become plain text. Raw HTML in a guide is dropped.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

GUIDES_PATH: Final = "/docs/guides"
_SHIPPED: Final = Path(__file__).parent / "manual"
# An installed package contains the guides; a clone has them in its root.
ROOT: Final = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).parents[2]
_FILES: Final[Mapping[str, str]] = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".yaml": "text/yaml; charset=utf-8",
}
_DEEPEST: Final = 3


@dataclass(frozen=True, slots=True)
class GuideHeading:
    """A heading of a guide.

    Attributes:
        level: 1 is the title.
        anchor: The id of the heading on the page.
        text: The text of the heading.
    """

    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class RenderedGuide:
    """A guide as HTML.

    Attributes:
        title: The first heading.
        body: The HTML.
        headings: The headings for the table of contents, without the title.
    """

    title: str
    body: str
    headings: tuple[GuideHeading, ...]


@cache
def map_guide_sources() -> Mapping[str, str]:
    """Map the names of the guides' pages to the paths of their files below `ROOT`."""
    found = {"readme": "README.md", "changelog": "CHANGELOG.md"}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        source = path.relative_to(ROOT).as_posix()
        name = source.removeprefix("docs/").removesuffix(".md")
        found[name.removesuffix("/README")] = source
    return MappingProxyType(found)


@cache
def map_guide_files() -> Mapping[str, tuple[Path, str]]:
    """Map paths below `docs` to the files that guides show or link to, with their media types."""
    base = ROOT / "docs"
    folders = (base / "img", base / "samples", base)
    found = {
        path.relative_to(base).as_posix(): (path, _FILES[path.suffix])
        for folder in folders
        for path in folder.glob("*")
        if path.suffix in _FILES
    }
    return MappingProxyType(found)


@cache
def read_guide(name: str) -> RenderedGuide:
    """Render a guide by its name.

    Raises:
        KeyError: The guide does not exist.
    """
    source = map_guide_sources()[name]
    return render_guide((ROOT / source).read_text(encoding="utf-8"), source)


def render_guide(text: str, source: str) -> RenderedGuide:
    """Render Markdown.

    Args:
        text: The Markdown.
        source: The path of its file below `ROOT`, to which its links are relative.
    """
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(text)
    headings = list(_name_headings(tokens))
    for token in tokens:
        _adapt(token, source)
        for child in token.children or ():
            _adapt(child, source)
        _unlink(token.children or [])
    body: str = parser.renderer.render(tokens, parser.options, {})
    # Wide content scrolls on its own, with the keyboard too (hence `tabindex`).
    body = body.replace("<pre>", '<pre tabindex="0">')
    body = body.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    title = headings[0].text if headings else source
    return RenderedGuide(title, body, tuple(each for each in headings if 1 < each.level <= _DEEPEST))


def slugify_heading(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _name_headings(tokens: list[Token]) -> Iterator[GuideHeading]:
    """Give each heading its anchor; repeated anchors get a number."""
    seen: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        # The anchor is made from the source text, the table of contents from the rendered text.
        anchor = slugify_heading(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", inline.content))
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        anchor = f"{anchor}-{count}" if count else anchor
        opening.attrSet("id", anchor)
        yield GuideHeading(int(opening.tag[1:]), anchor, _plain(inline))


def _plain(inline: Token) -> str:
    return "".join(each.content for each in inline.children or () if each.type in {"text", "code_inline"})


def _adapt(token: Token, source: str) -> None:
    """Adapt a token: drop HTML, resolve links and images, replace style attributes."""
    if token.type in {"html_block", "html_inline"}:
        # The only HTML in guides are comments, which mark generated tables.
        token.content = ""
    elif token.type == "link_open":
        token.attrSet("href", resolve_guide_link(str(token.attrGet("href")), source))
    elif token.type == "image":
        token.attrSet("src", resolve_guide_link(str(token.attrGet("src")), source))
        token.attrSet("loading", "lazy")
    elif style := token.attrs.pop("style", None):
        # The Content-Security-Policy of these pages forbids style attributes.
        token.attrSet("class", "number" if "right" in str(style) else "")


def resolve_guide_link(link: str, source: str) -> str:
    """Resolve a link of a guide to an address of its page; empty: the target is not served."""
    parts = urlsplit(link)
    if parts.scheme or not parts.path:
        return link
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(parts.path)))
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    for name, file in map_guide_sources().items():
        if file == path:
            return f"{GUIDES_PATH}/{name}{anchor}"
    below = path.removeprefix("docs/")
    return f"{GUIDES_PATH}/{below}" if path != below and below in map_guide_files() else ""


def _unlink(tokens: list[Token]) -> None:
    """Turn links without a target into plain text."""
    closing: Token | None = None
    for token in tokens:
        if token.type == "link_open" and not token.attrGet("href"):
            token.tag, token.attrs = "span", {}
            closing = token
        elif token.type == "link_close" and closing is not None:
            token.tag, closing = "span", None


def list_guides() -> list[tuple[str, str]]:
    """List addresses and titles of the guides by title, without the decision records."""
    names = [name for name in map_guide_sources() if "/" not in name]
    found = [(f"{GUIDES_PATH}/{name}", read_guide(name).title) for name in names]
    return sorted(found, key=_by_title)


def _by_title(entry: tuple[str, str]) -> Any:  # noqa: ANN401 (a key to sort by)
    return entry[1].removeprefix("The ").lower()


@cache
def render_task_table() -> str:
    """Render the README's table of guides by task."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Documentation\n")[2]
    rows = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("|"))
    return render_guide(rows, "README.md").body
