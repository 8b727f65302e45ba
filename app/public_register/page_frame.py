"""What all pages of the register have in common: templates, addresses in a language, the policy. Pure.

Owns the templates' surroundings: what is set into them is escaped, and a name that is missing is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.public_register.map_tiles import NO_TILES, MapTileSource
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.static_files import build_static_url

TEMPLATES: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class PageContext:
    """What a page is made in.

    Attributes:
        writing: The language, and the clocks of UTC.
        now: When what it shows was read.
        tiles: The ground of its map.
    """

    writing: RegisterFormatter
    now: datetime
    tiles: MapTileSource = NO_TILES

    def to(self, path: str, **query: object) -> str:
        """An address of the register in the page's language; queries without a value are left out."""
        return build_localized_url(path, self.writing.language, **query)


def build_localized_url(path: str, language: str, **query: object) -> str:
    """An address with its language and what else is asked."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode({**given, 'lang': language})}"


def build_page_csp(tiles: MapTileSource) -> str:
    """The Content-Security-Policy of a page: its own files and nothing else, but for the operator's tiles."""
    images = " ".join(["img-src 'self' data:", *([tiles.origin] if tiles.origin else [])])
    # No page of another site shows these in a frame, with a form of its own over theirs.
    rest = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    return f"default-src 'self'; {images}; {rest}"


@cache
def _environment(folder: Path | None) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES] if folder is None else [folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["file"] = build_static_url
    return environment


def render_page(
    template: str,
    frame: PageContext,
    *,
    title: str,
    path: str,
    query: Mapping[str, object] | None = None,
    data: list[tuple[str, str]] | None = None,
    folder: Path | None = None,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> str:
    """A page.

    Args:
        template: Its file.
        frame: What it is made in.
        title: Its title.
        path: Its address without a query.
        query: What was asked besides the language.
        data: Addresses of the same as data, with what they are called.
        folder: Where another room's template is; it has the frame of this one.
        **more: What else the template takes.
    """
    writing = frame.writing
    asked = dict(query or {})
    made = writing.word("made_at").format(day=writing.day(frame.now), clock=writing.clock(frame.now))
    feed = "/public/changes.atom" if "/sites/" not in path else f"{path}/changes.atom"
    return (
        _environment(folder)
        .get_template(template)
        .render(
            w=writing,
            word=_word(writing),
            title=title,
            path=path,
            to=frame.to,
            here=lambda language: build_localized_url(path, language, **asked),
            feed=build_localized_url(feed, writing.language),
            data=data or [],
            made=made,
            colon=" : " if writing.language == "fr" else ": ",
            tiles=frame.tiles,
            **more,
        )
    )


def _word(writing: RegisterFormatter) -> Any:  # noqa: ANN401 (a function of a template)
    said = {key: writing.said(text) for key, text in WORDS.items()}
    return said.__getitem__
