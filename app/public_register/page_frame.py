"""What all pages of the register have in common: templates, addresses in a language, the policy. Pure.

Owns the templates' surroundings: what is set into them is escaped, and a name that is missing is an error.

Which language a page is in: what its address says, else what the browser asks for. Pure.

The register's own files: style sheet, scripts, outlines of land. In memory, marked with their hash.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.public_register.map_tiles import NO_TILES, MapTileSource
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.ttl_cache import CachedResponse
from app.reports.report_input import ReportLanguage

FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/geo+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_NAMES: Final = (
    *("register.css", "map.js", "near.js", "land.json", "icon.svg"),
    *("leaflet/leaflet.js", "leaflet/leaflet.css", "leaflet/LICENSE.txt"),
    *("protomaps/protomaps-leaflet.js", "protomaps/LICENSE.txt"),
)


@cache
def load_static_files() -> Mapping[str, CachedResponse]:
    """All of them, by name."""
    return MappingProxyType(
        {name: CachedResponse.of((FOLDER / name).read_bytes(), _TYPES[Path(name).suffix]) for name in _NAMES}
    )


@cache
def build_static_url(name: str) -> str:
    """Where one is, with a mark that changes when the file does."""
    mark = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:10]
    return f"/public/static/{name}?v={mark}"


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


def negotiate_language(asked: str | None, accepted: str) -> ReportLanguage:
    """English or French.

    Args:
        asked: What the address says; anything but the two is as nothing.
        accepted: The header `Accept-Language`; of equal weight the one that is named first.
    """
    if asked in {"en", "fr"}:
        return "fr" if asked == "fr" else "en"
    best, weight = "en", 0.0
    for part in accepted.split(","):
        name, *parameters = part.strip().lower().split(";")
        quality = _quality(parameters)
        language = name.split("-")[0].strip()
        if language in {"en", "fr"} and quality > weight:
            best, weight = language, quality
    return "fr" if best == "fr" else "en"


def _quality(parameters: list[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
