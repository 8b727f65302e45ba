"""PMTiles archives of the world in four tiles, all alike: pictures of one colour, or vector tiles of land."""

import struct
import zlib
from pathlib import Path
from typing import Final

PICTURE, VECTOR = 2, 1
_HEADER_BYTES: Final = 127
_NONE: Final = 1
_SIDE: Final = 8
_EXTENT: Final = 4096


def write_archive(path: Path, tile_type: int, tile: bytes) -> Path:
    """Write an archive by version 3 of the specification, with nothing compressed."""
    # One entry: from tile 1 on, the first of zoom 1, four times, its length, at the beginning of the data.
    root = b"".join(map(varint, (1, 1, 4, len(tile), 1)))
    metadata = b"{}"
    at = _HEADER_BYTES
    places = (at, len(root), at + len(root), len(metadata), 0, 0, at + len(root) + len(metadata), len(tile))
    header = b"PMTiles\x03" + struct.pack("<8Q", *places) + struct.pack("<3Q", 4, 1, 1)
    header += struct.pack("<6B", 1, _NONE, _NONE, tile_type, 1, 1)
    header += struct.pack("<4i", -1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000)
    header += struct.pack("<B2i", 0, 0, 0)
    assert len(header) == _HEADER_BYTES
    path.write_bytes(header + root + metadata + tile)
    return path


def varint(value: int) -> bytes:
    """A number as Protocol Buffers write it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def picture(red: int, green: int, blue: int) -> bytes:
    """A PNG of one colour."""
    rows = (b"\0" + bytes([red, green, blue]) * _SIDE) * _SIDE

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">2I5B", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def land() -> bytes:
    """A vector tile (MVT 2) whose layer `earth` has one polygon: all of it."""

    def field(number: int, data: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(data)) + data

    def zigzag(value: int) -> int:
        return value << 1 if value >= 0 else (-value << 1) - 1

    steps = [0, 0, _EXTENT, 0, 0, _EXTENT, -_EXTENT, 0]
    moved = [zigzag(each) for each in steps]
    # MoveTo once, LineTo three times, ClosePath.
    geometry = [9, *moved[:2], 26, *moved[2:], 15]
    feature = b"\x18\x03" + field(4, b"".join(map(varint, geometry)))
    layer = b"\x78\x02" + field(1, b"earth") + field(2, feature) + b"\x28" + varint(_EXTENT)
    return field(3, layer)
