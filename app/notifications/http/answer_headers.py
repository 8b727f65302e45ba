"""Shortens the headers of a response for the log of attempts. Pure."""

from collections.abc import Iterable
from typing import Final

_MOST: Final = 24
_NAME_LENGTH: Final = 64
_VALUE_LENGTH: Final = 256
_MASKED: Final = "…"
# They may hold credentials of the receiver, which the log must not have.
_SECRET: Final = frozenset({"set-cookie", "www-authenticate", "authorization", "proxy-authenticate"})


def shorten_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first headers with shortened values; values of one name are joined by commas.

    At most 24 headers are stored, of 64 and 256 characters. The values are valid as PostgreSQL text.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        key = _clean(name, _NAME_LENGTH).lower()
        shown = _MASKED if key in _SECRET else _clean(value, _VALUE_LENGTH)
        if key in found:
            found[key] = found[key] if key in _SECRET else f"{found[key]}, {shown}"[:_VALUE_LENGTH]
        elif len(found) < _MOST:
            found[key] = shown
    return found


def _clean(text: str, length: int) -> str:
    # Bytes that are no UTF-8 are lone surrogates here, and PostgreSQL's text cannot contain NUL.
    valid = text[:length].encode("utf-8", "replace").decode()
    return valid.replace("\0", "\ufffd")
