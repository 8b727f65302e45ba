"""Which tiles an archive has is read from its header; what is none is refused with a reason."""

from pathlib import Path

import pytest

from app.public_register.map_tiles import TILES_PATH, MapTileSource, TilesKind
from app.public_register.settings import RegisterSettings


def archive(path: Path, tile_type: int, magic: bytes = b"PMTiles\x03") -> Path:
    path.write_bytes(magic.ljust(99, b"\0") + bytes([tile_type]) + bytes(27))
    return path


@pytest.mark.parametrize(
    ("tile_type", "kind"), [(1, "vector"), (2, "pictures"), (3, "pictures"), (4, "pictures"), (5, "pictures")]
)
def test_the_header_says_which_tiles_there_are(tmp_path: Path, tile_type: int, kind: TilesKind) -> None:
    settings = RegisterSettings(tiles_file=archive(tmp_path / "a", tile_type), tiles_credit="OSM")
    tiles = MapTileSource.of(settings)
    assert (tiles.url, tiles.kind, tiles.credit, tiles.origin) == (TILES_PATH, kind, "OSM", "")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"PMTiles\x03")
    for path, said in (
        (tmp_path / "missing", "No such file"),
        (short, "version 3"),
        (archive(tmp_path / "old", 1, b"PMTiles\x02"), "version 3"),
        (archive(tmp_path / "odd", 99), "unknown type"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            MapTileSource.of(RegisterSettings(tiles_file=path))
        assert "VIGIE_PUBLIC_REGISTER__TILES_FILE" in str(error.value)


def test_pictures_of_another_host_open_the_policy_for_that_host() -> None:
    tiles = MapTileSource.of(RegisterSettings(tiles_url="https://{s}.tiles.example/{z}/{x}/{y}.png"))
    assert tiles.origin == "https://*.tiles.example"
    assert MapTileSource.of(RegisterSettings()) == MapTileSource()
