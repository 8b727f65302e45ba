"""Renders the navigation at the side of each page. Pure.

Furo would resolve the whole table of contents again for each page: 8 of 25 s of a build.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from tools.guides.navigation import READER_GROUPS

# The arrow that opens a folder, with the classes and the symbol of the theme.
_ARROW: Final = '<i class="icon"><svg aria-hidden="true"><use href="#svg-arrow-right"></use></svg></i>'


def render_sidebar(current: str, titles: Mapping[str, str], children: Mapping[str, Sequence[str]]) -> str:
    """Render the navigation as it stands on a page.

    Args:
        current: The name of the page.
        titles: The titles of all pages.
        children: The pages of each folder, by the name of its index.
    """
    parts = []
    for group in READER_GROUPS:
        entries = "".join(
            _render_entry(page, current, titles, children.get(page, ()))
            for page in group.pages
            if page in titles
        )
        caption = f'<p class="caption"><span class="caption-text">{escape(group.title)}</span></p>'
        parts.append(f"{caption}<ul>{entries}</ul>")
    return "\n".join(parts)


def _render_entry(page: str, current: str, titles: Mapping[str, str], below: Sequence[str]) -> str:
    inside = current == page or current in below
    classes = ["toctree-l1", *(["has-children"] if below else []), *(["current"] if inside else [])]
    return "".join(
        [
            f'<li class="{" ".join(classes)}">{_render_link(page, current, titles)}',
            *_render_children(page, current, titles, below, opened=inside),
            "</li>",
        ]
    )


def _render_children(
    page: str, current: str, titles: Mapping[str, str], below: Sequence[str], *, opened: bool
) -> Iterator[str]:
    if not below:
        return
    name = f"toctree-checkbox-{page.replace('/', '-')}"
    checked = " checked" if opened else ""
    yield f'<input{checked} class="toctree-checkbox" id="{name}" name="{name}" type="checkbox">'
    hidden = f'<span class="visually-hidden">Pages of {escape(titles[page])}</span>'
    yield f'<label for="{name}">{hidden}{_ARROW}</label><ul>'
    for child in below:
        mark = " current current-page" if child == current else ""
        yield f'<li class="toctree-l2{mark}">{_render_link(child, current, titles)}</li>'
    yield "</ul>"


def _render_link(page: str, current: str, titles: Mapping[str, str]) -> str:
    link = posixpath.relpath(page, posixpath.dirname(current) or ".")
    mark = ' aria-current="page"' if page == current else ""
    return f'<a class="reference internal" href="{link}"{mark}>{escape(titles[page])}</a>'
