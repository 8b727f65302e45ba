"""Renders the pages of the register from templates, and loads their static files. Pure.

- Templates escape every value, and fail on an undefined name.
- The language is that of the address (`?lang=`), else that of `Accept-Language`.
- Static files (style sheet, scripts, outlines of land) stay in memory; their addresses have a hash.
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

from jinja2 import Environment

from app.platform.http.contract.cached_response import CachedResponse
from app.presentation.design_tokens import read_design_tokens
from app.presentation.languages import Language
from app.presentation.template_environment import create_template_environment
from app.public_register.map_tiles import NO_TILES, MapTileSource
from app.public_register.page_texts import WORDS
from app.public_register.register_value_formatter import RegisterFormatter

TEMPLATES: Final = Path(__file__).parent / "templates"
FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/geo+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_NAMES: Final = (
    *("register.css", "ground.css", "ground.js", "map.js", "near.js", "share.js", "land.json", "icon.svg"),
    *("leaflet/leaflet.js", "leaflet/leaflet.css", "leaflet/LICENSE.txt"),
    *("protomaps/protomaps-leaflet.js", "protomaps/LICENSE.txt"),
)


@cache
def load_static_files() -> Mapping[str, CachedResponse]:
    """Load all static files, by name."""
    return MappingProxyType(
        {name: CachedResponse.of(_read_static_file(name), _TYPES[Path(name).suffix]) for name in _NAMES}
    )


def _read_static_file(name: str) -> bytes:
    """Read a file. Design tokens and the rules of maps precede the style sheet: one request."""
    content = (FOLDER / name).read_bytes()
    if name != "register.css":
        return content
    return read_design_tokens().encode() + (FOLDER / "ground.css").read_bytes() + content


@cache
def build_static_url(name: str) -> str:
    """Return the address of a static file. Its hash lets clients cache the file for a year."""
    digest = hashlib.sha256(load_static_files()[name].body).hexdigest()[:10]
    return f"/public/static/{name}?v={digest}"


@dataclass(frozen=True, slots=True)
class PageContext:
    """Language, time and map of a page.

    Attributes:
        formatter: The language; times are in UTC.
        now: The time of the content.
        tiles: The background of the map.
    """

    formatter: RegisterFormatter
    now: datetime
    tiles: MapTileSource = NO_TILES

    def to(self, path: str, **query: object) -> str:
        """Build an address of the register in the language of the page."""
        return build_localized_url(path, self.formatter.language, **query)


def build_localized_url(path: str, language: str, **query: object) -> str:
    """Build an address with its language and the query parameters that have a value."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode({**given, 'lang': language})}"


def build_page_csp(tiles: MapTileSource) -> str:
    """Build the Content-Security-Policy of a page: own files only, and the map tiles of the operator."""
    images = " ".join(["img-src 'self' data:", *([tiles.origin] if tiles.origin else [])])
    # `frame-ancestors`: no other site may frame these pages (clickjacking).
    rest = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    return f"default-src 'self'; {images}; {rest}"


@cache
def _environment(folder: Path | None) -> Environment:
    environment = create_template_environment(*([] if folder is None else [folder]), TEMPLATES)
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
    """Render a page.

    Args:
        template: The name of the template.
        frame: Language, time and map of the page.
        title: The title.
        path: The address without a query.
        query: The query parameters except the language.
        data: Addresses of the same content as data, each with its label.
        folder: The folder of the template if another room has it. It extends the templates of this room.
        **more: Further variables of the template.
    """
    formatter = frame.formatter
    parameters = dict(query or {})
    made = formatter.word("made_at").format(day=formatter.day(frame.now), clock=formatter.clock(frame.now))
    feed = "/public/changes.atom" if "/sites/" not in path else f"{path}/changes.atom"
    return (
        _environment(folder)
        .get_template(template)
        .render(
            w=formatter,
            word=_word(formatter),
            title=title,
            path=path,
            to=frame.to,
            here=lambda language: build_localized_url(path, language, **parameters),
            feed=build_localized_url(feed, formatter.language),
            data=data or [],
            made=made,
            colon=formatter.colon,
            tiles=frame.tiles,
            **more,
        )
    )


def _word(formatter: RegisterFormatter) -> Any:  # noqa: ANN401 (a function of a template)
    translated = {key: formatter.translate(text) for key, text in WORDS.items()}
    return translated.__getitem__


def negotiate_language(parameter: str | None, accepted: str) -> Language:
    """Choose English or French.

    Args:
        parameter: The query parameter `lang`. Values other than `en` and `fr` are ignored.
        accepted: The header `Accept-Language`. Of languages with equal weight, the first one is chosen.
    """
    if parameter in {"en", "fr"}:
        return "fr" if parameter == "fr" else "en"
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
