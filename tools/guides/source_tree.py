"""Writes the source tree of the guides for Sphinx: the Markdown files of the repository with adapted links.

- `README.md` of a folder becomes its `index`, as on GitHub.
- Links between pages lead to the pages' new names.
- Links to files that the guides do not serve, such as modules, become plain text.
- Each index gets a `toctree` of its pages.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from tools.guides.navigation import FIRST_PAGES, READER_GROUPS
from tools.guides.stamp import ROOT_PAGES

FILE_SCHEME: Final = "guide-file"
"""A link with this scheme leads to a file beside the pages (see `sphinx/conf.py`)."""
_ROOT_NAMES: Final = {"SECURITY.md": "security-policy"}
_LINKED: Final = (".yaml", ".pdf")
_IMAGES: Final = (".png", ".svg")
# The first page links to the reference, which exists only here.
_REFERENCE_MARK: Final = "<!-- reference -->"
_REFERENCE_LINK: Final = "- [API reference](reference/index.md): every call and object"
_FENCE: Final = re.compile(r"^[ \t]*(`{3,})[^\n]*\n.*?^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_COMMENT: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def map_pages(root: Path) -> dict[str, str]:
    """Map the paths of all Markdown files of the guides, below `root`, to the names of their pages."""
    pages = {name: _ROOT_NAMES.get(name, PurePosixPath(name).stem.lower()) for name in ROOT_PAGES}
    for path in sorted((root / "docs").rglob("*.md")):
        below = path.relative_to(root / "docs").with_suffix("")
        named = below.with_name("index") if below.name == "README" else below
        pages[path.relative_to(root).as_posix()] = named.as_posix()
    return pages


def write_source_tree(root: Path, target: Path, generated: Mapping[str, str]) -> bool:
    """Write the source tree, and return whether it changed.

    Unchanged files keep their time, so that Sphinx does not read them again.

    Args:
        root: The folder of the repository.
        target: The folder of the source tree.
        generated: Further pages: their Markdown by their name.
    """
    pages = map_pages(root)
    texts = {
        page: adapt_links((root / source).read_text(encoding="utf-8"), source, pages)
        for source, page in pages.items()
    }
    first = (root / "docs" / "index.md").read_text(encoding="utf-8").replace(_REFERENCE_MARK, _REFERENCE_LINK)
    texts["index"] = adapt_links(
        first, "docs/index.md", {**pages, "docs/reference/index.md": "reference/index"}
    )
    texts |= generated
    texts |= {f"{folder}/index": f"# {folder.title()}\n" for folder in _folders_without_index(texts)}
    content = {
        target / f"{page}.md": (text + render_toctree(page, texts)).encode() for page, text in texts.items()
    }
    for source in sorted((root / "docs").rglob("*")):
        if source.suffix in _IMAGES + _LINKED:
            below = source.relative_to(root / "docs")
            # Sphinx copies the images that pages show, and everything in `files`.
            place = target / below if source.suffix in _IMAGES else target / "files" / below
            content[place] = source.read_bytes()
    stale = {path for path in target.rglob("*") if path.is_file()} - set(content)
    for path in stale:
        path.unlink()
    changed = [path for path, new in content.items() if not path.is_file() or path.read_bytes() != new]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[path])
    return bool(stale or changed)


def _folders_without_index(texts: Mapping[str, str]) -> list[str]:
    folders = {page.rpartition("/")[0] for page in texts} & set(FIRST_PAGES)
    return sorted(folder for folder in folders if f"{folder}/index" not in texts)


def adapt_links(text: str, source: str, pages: Mapping[str, str]) -> str:
    """Adapt the links of a page, and remove its HTML comments; code blocks stay as they are.

    Args:
        text: The Markdown.
        source: The path of its file below the root, to which its links are relative.
        pages: The names of all pages by their file.
    """
    return _outside_fences(
        text, lambda part: _LINK.sub(lambda link: _adapt(link, source, pages), _COMMENT.sub("", part))
    )


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    return "".join(change(part) if prose else part for prose, part in _split(text))


def _split(text: str) -> Iterator[tuple[bool, str]]:
    end = 0
    for fence in _FENCE.finditer(text):
        yield True, text[end : fence.start()]
        yield False, fence[0]
        end = fence.end()
    yield True, text[end:]


def _adapt(link: re.Match[str], source: str, pages: Mapping[str, str]) -> str:
    mark, label, target = link.groups()
    path, _, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z+.-]*:", path):
        return link[0]
    here = posixpath.dirname(pages[source]) or "."
    found = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(path)))
    if found in pages:
        new = posixpath.relpath(f"{pages[found]}.md", here)
        return f"[{label}]({new}{f'#{anchor}' if anchor else ''})"
    below = found.removeprefix("docs/")
    if below != found and below.endswith(_IMAGES + _LINKED):
        new = posixpath.relpath(below, here)
        return f"{mark}[{label}]({new if mark else f'{FILE_SCHEME}:{new}'})"
    return label


def render_toctree(page: str, texts: Mapping[str, str]) -> str:
    """Render the tables of contents that an index page adds to the navigation; empty for other pages."""
    if page == "index":
        return "".join(
            _toctree([each for each in group.pages if each in texts], caption=group.title)
            for group in READER_GROUPS
        )
    folder, _, name = page.rpartition("/")
    if name != "index" or folder not in FIRST_PAGES:
        return ""
    first = [each for each in FIRST_PAGES[folder] if f"{folder}/{each}" in texts]
    return _toctree([*first, "*"])


def _toctree(entries: list[str], *, caption: str = "") -> str:
    options = [":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *entries, "```", ""])
