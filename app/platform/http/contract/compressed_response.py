"""Compresses bodies, and reads the headers that choose between plain, compressed and 304 (RFC 9110). Pure."""

import gzip
from typing import Final

_REFUSED: Final = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})


def accepts_gzip(accepted: str) -> bool:
    """Return whether an `Accept-Encoding` accepts gzip."""
    for part in accepted.split(","):
        name, _, quality = part.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "") not in _REFUSED
    return False


def has_current_copy(if_none_match: str, tag: str) -> bool:
    """Return whether an `If-None-Match` names a tag (with its quotes); weak tags count."""
    return any(part.strip().removeprefix("W/") in {tag, "*"} for part in if_none_match.split(","))


def compress(body: bytes, level: int) -> bytes:
    """Compress a body with gzip. The same body gives the same bytes."""
    return gzip.compress(body, level, mtime=0)
