"""Routes that anybody may call: their bodies are small, so that reading them costs little."""

from typing import Final

from app.platform.http.contract.strict_body import StrictRoute

ANONYMOUS_BODY_MAX: Final = 16_384
"""Bytes; a box with the longest of names has a tenth of it."""


class AnonymousRoute(StrictRoute):
    """A strict route that limits the body to `ANONYMOUS_BODY_MAX` bytes, below `api.max_body_bytes`."""

    max_body = ANONYMOUS_BODY_MAX
