"""Renders the project's guides, which are Markdown files, as HTML. Pure but for reading the files.

A link between guides leads to the other guide's page. A link to a file that is not served, such as a module
of the program, becomes plain text. Raw HTML in a guide is not taken over.
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
# An installed package brings the guides along; in a clone they are where people write them.
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
        anchor: Its id on the page.
        text: What it says.
    """

    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class RenderedGuide:
    """A guide as a page has it.

    Attributes:
        title: Its first heading.
        body: Its HTML.
        headings: Those below the title that a table of contents shows.
    """

    title: str
    body: str
    headings: tuple[GuideHeading, ...]


@cache
def map_guide_sources() -> Mapping[str, str]:
    """The path of each guide's file below `ROOT`, by the name that its page has."""
    found = {"readme": "README.md", "changelog": "CHANGELOG.md"}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        source = path.relative_to(ROOT).as_posix()
        name = source.removeprefix("docs/").removesuffix(".md")
        found[name.removesuffix("/README")] = source
    return MappingProxyType(found)


@cache
def map_guide_files() -> Mapping[str, tuple[Path, str]]:
    """The files that guides show or lead to, with their media types, by their path below `docs`."""
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
    """Render a guide (KeyError: there is none of this name)."""
    source = map_guide_sources()[name]
    return render_guide((ROOT / source).read_text(encoding="utf-8"), source)


def render_guide(text: str, source: str) -> RenderedGuide:
    """Render a text.

    Args:
        text: Markdown.
        source: The path of its file below `ROOT`, from which its links lead.
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
    # What is wide scrolls by itself, also with the keyboard.
    body = body.replace("<pre>", '<pre tabindex="0">')
    body = body.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    body = body.replace("</table>", "</table></div>")
    title = headings[0].text if headings else source
    return RenderedGuide(title, body, tuple(each for each in headings if 1 < each.level <= _DEEPEST))


def slugify_heading(heading: str) -> str:
    """The anchor of a heading, as the forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _name_headings(tokens: list[Token]) -> Iterator[GuideHeading]:
    """Give each heading its anchor; of two alike the second gets a number."""
    seen: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        # The anchor is made of the text as it is written, the table of contents of what is shown.
        anchor = slugify_heading(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", inline.content))
        count = seen.get(anchor, 0)
        seen[anchor] = count + 1
        anchor = f"{anchor}-{count}" if count else anchor
        opening.attrSet("id", anchor)
        yield GuideHeading(int(opening.tag[1:]), anchor, _plain(inline))


def _plain(inline: Token) -> str:
    return "".join(each.content for each in inline.children or () if each.type in {"text", "code_inline"})


def _adapt(token: Token, source: str) -> None:
    """Change what a page of ours shows differently from the file."""
    if token.type in {"html_block", "html_inline"}:
        # Comments mark what is made from the code; guides have no other HTML.
        token.content = ""
    elif token.type == "link_open":
        token.attrSet("href", resolve_guide_link(str(token.attrGet("href")), source))
    elif token.type == "image":
        token.attrSet("src", resolve_guide_link(str(token.attrGet("src")), source))
        token.attrSet("loading", "lazy")
    elif style := token.attrs.pop("style", None):
        # The policy of these pages lets no style attributes in.
        token.attrSet("class", "number" if "right" in str(style) else "")


def resolve_guide_link(link: str, source: str) -> str:
    """Where a link of a guide leads on our pages; empty: what it names is not served."""
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
    """Turn links to what is not served into plain text."""
    closing: Token | None = None
    for token in tokens:
        if token.type == "link_open" and not token.attrGet("href"):
            token.tag, token.attrs = "span", {}
            closing = token
        elif token.type == "link_close" and closing is not None:
            token.tag, closing = "span", None


def list_guides() -> list[tuple[str, str]]:
    """Each guide's address and title, by title, without the decisions."""
    names = [name for name in map_guide_sources() if "/" not in name]
    found = [(f"{GUIDES_PATH}/{name}", read_guide(name).title) for name in names]
    return sorted(found, key=_by_title)


def _by_title(entry: tuple[str, str]) -> Any:  # noqa: ANN401 (a key to sort by)
    return entry[1].removeprefix("The ").lower()


@cache
def render_task_table() -> str:
    """The table "to … read …" of the README: which guide helps with what."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Documentation\n")[2]
    rows = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("|"))
    return render_guide(rows, "README.md").body
