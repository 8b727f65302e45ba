"""Configures the background of the map: tiles of another host, or a PMTiles archive that the API serves.

Without either, the map shows outlines of land. Archives need version 3 of PMTiles (a header of 127 bytes).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from app.public_register.settings import RegisterSettings

TILES_PATH: Final = "/public/tiles.pmtiles"
"""The path that serves the archive."""

type TilesKind = Literal["", "url", "pictures", "vector"]

_MAGIC: Final = b"PMTiles\x03"
_HEADER_BYTES: Final = 127
_TILE_TYPE: Final = 99
_KINDS: Final[dict[int, TilesKind]] = {
    1: "vector",
    2: "pictures",
    3: "pictures",
    4: "pictures",
    5: "pictures",
}


@dataclass(frozen=True, slots=True)
class MapTileSource:
    """The source of the map's background.

    Attributes:
        url: The address of the archive, or of image tiles of another host; empty: none. The other host sees
            the addresses of visitors and the places that they look at.
        credit: The attribution that the map shows.
        kind: The type of the tiles; empty: none.
        file: The archive.
    """

    url: str = ""
    credit: str = ""
    kind: TilesKind = ""
    file: Path | None = None

    @classmethod
    def of(cls, settings: RegisterSettings) -> "MapTileSource":
        """Read what the settings name.

        Raises:
            ValueError: The file is no PMTiles archive of version 3, or cannot be read.
        """
        if settings.tiles_file is not None:
            kind = read_tile_type(settings.tiles_file)
            return cls(TILES_PATH, settings.tiles_credit, kind, settings.tiles_file)
        return cls(settings.tiles_url, settings.tiles_credit, "url" if settings.tiles_url else "")

    @property
    def origin(self) -> str:
        """The host to allow in the Content-Security-Policy; empty where tiles come from this host."""
        if self.kind != "url":
            return ""
        parts = urlsplit(self.url.replace("{s}", "*"))
        return f"{parts.scheme}://{parts.netloc}"


NO_TILES: Final = MapTileSource()
"""No background: the map shows outlines of land, out of the program's own files."""


def read_tile_type(path: Path) -> TilesKind:
    """Read the type of the tiles from the header of an archive.

    Raises:
        ValueError: The file is no PMTiles archive of version 3, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise ValueError(f"VIGIE_PUBLIC_REGISTER__TILES_FILE: {path}: {error.strerror}") from None
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise ValueError(
            f"VIGIE_PUBLIC_REGISTER__TILES_FILE: {path} is no PMTiles archive of version 3. Make one with "
            "`pmtiles extract` or `pmtiles convert`."
        )
    kind = _KINDS.get(header[_TILE_TYPE])
    if kind is None:
        raise ValueError(f"VIGIE_PUBLIC_REGISTER__TILES_FILE: {path} has tiles of an unknown type.")
    return kind
