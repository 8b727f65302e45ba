"""Takes gzip off a body, within a bound.

Owns the one decompression of the program. Memory is bounded by what the caller allows, whatever the data
claims to be. Pure: must not know which door the data came in by.
"""

import zlib
from typing import Final

from app.platform.kernel.rejection_codes import RejectedError

GZIP_MAGIC: Final = b"\x1f\x8b"
"""How gzip begins, and no JSON or CBOR that Vigie takes."""

_GZIP: Final = 16 + zlib.MAX_WBITS


def decompress_gzip(data: bytes, most: int) -> bytes:
    """Inflate one gzip member.

    Args:
        data: all of it.
        most: how many bytes may come out.

    Raises:
        RejectedError: `empty_body`, `invalid_gzip` (not gzip, damaged, cut short, or followed by more) or
            `body_too_large`.
    """
    if not data:
        raise RejectedError("empty_body", "there is nothing to inflate: the body is empty")
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise RejectedError("invalid_gzip", f"this is not gzip, or it is damaged: {error}") from None
    if len(inflated) > most:
        raise RejectedError("body_too_large", f"inflated, there are more than {most} bytes: send it in parts")
    if not inflater.eof:
        raise RejectedError("invalid_gzip", "the gzip data is cut short")
    if inflater.unused_data:
        raise RejectedError("invalid_gzip", "something follows the gzip data: one member is due")
    return inflated
