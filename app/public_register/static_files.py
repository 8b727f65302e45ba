"""The register's own files: style sheet, scripts, outlines of land. In memory, marked with their hash."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from app.public_register.cached_responses import CachedResponse

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
