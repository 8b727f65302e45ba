"""Decompresses a gzip body with an upper bound for its size.

Pure. It is the only decompression in the program, for MQTT and HTTP alike. The bound limits memory, whatever
size the data claim to have.
"""

import zlib
from typing import Final

from app.platform.kernel.rejection_codes import RejectedError

GZIP_MAGIC: Final = b"\x1f\x8b"
"""First bytes of gzip data. No JSON or CBOR that Vigie accepts begins with them."""

_GZIP: Final = 16 + zlib.MAX_WBITS


def decompress_gzip(data: bytes, most: int) -> bytes:
    """Decompress one gzip member.

    Args:
        data: the complete gzip data.
        most: the most bytes that the decompressed data may have.

    Raises:
        RejectedError: `empty_body`, `invalid_gzip` (not gzip, damaged, truncated, or followed by more data)
            or `body_too_large`.
    """
    if not data:
        raise RejectedError("empty_body", "the body is empty: send gzip data")
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise RejectedError("invalid_gzip", f"the body is not gzip, or it is damaged: {error}") from None
    if len(inflated) > most:
        raise RejectedError("body_too_large", f"the decompressed body exceeds {most} bytes: send it in parts")
    if not inflater.eof:
        raise RejectedError("invalid_gzip", "the gzip data is cut short")
    if inflater.unused_data:
        raise RejectedError("invalid_gzip", "something follows the gzip data: send one member only")
    return inflated
