"""Finds and reads the files of the built guides.

`make docs` builds them (`tools.guides`). An installed package contains them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from app.platform.http.contract.cached_response import CachedResponse

GUIDES_PATH: Final = "/docs/guides"
INDEX: Final = "index"
_SHIPPED: Final = Path(__file__).parent / "guides"
# A clone has them where `tools.guides` builds them. The last step of a build writes the stamp.
_FOLDER: Final = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).parents[2] / "build" / "guides"
_STAMP: Final = "stamp.txt"
_HTML: Final = ".html"
_MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        _HTML: "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".pdf": "application/pdf",
        ".yaml": "text/yaml; charset=utf-8",
    }
)
_MAX_CACHED: Final = 100


@dataclass(frozen=True, slots=True)
class BuiltGuides:
    """The files of one build of the guides.

    Attributes:
        files: Each address below `GUIDES_PATH`, with its file.
        moved: Former addresses, and those that people type, with the present address.
        build: Distinguishes this build from others.
    """

    files: Mapping[str, Path]
    moved: Mapping[str, str]
    build: int


def find_guides(folder: Path = _FOLDER) -> BuiltGuides | None:
    """Find the guides; nothing if they are not built. A new build is found without a restart."""
    try:
        build = (folder / _STAMP).stat().st_mtime_ns
    except FileNotFoundError:
        return None
    return _list_files(folder, build)


@lru_cache(maxsize=2)
def _list_files(folder: Path, build: int) -> BuiltGuides:
    """List all files once, so that only they can be served."""
    files: dict[str, Path] = {}
    moved: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _MEDIA_TYPES or not path.is_file():
            continue
        address = path.relative_to(folder).as_posix()
        files[address] = path
        if address.startswith("_images/"):
            moved[f"img/{path.name}"] = address
        if path.suffix == _HTML:
            page = address.removesuffix(_HTML)
            files[page] = path
            # Texts mention file names such as `docs/rules.md`, which people type.
            moved[f"{page}.md"] = page
            if path.stem == INDEX:
                place = page.removesuffix(INDEX)
                plain = place.removesuffix("/")
                moved |= {place: page, plain: page, f"{plain}.md": page, f"{place}README.md": page}
    moved["README.md"] = "readme"
    return BuiltGuides(MappingProxyType(files), MappingProxyType(moved), build)


@lru_cache(maxsize=_MAX_CACHED)
def load_guide(path: Path, build: int) -> CachedResponse:  # noqa: ARG001 (part of the key)
    """Read a file of the guides, with its compressed form.

    Args:
        path: The file.
        build: Its build: after a new one the file is read again.
    """
    return CachedResponse.of(path.read_bytes(), _MEDIA_TYPES[path.suffix])
