"""Routes that anybody may call: their bodies are small, so that reading them costs little."""

from typing import Final

from app.platform.http.contract.strict_body import StrictRoute

BODY_MAX: Final = 16_384
"""Bytes; a box with the longest of names has a tenth of it."""


class AnonymousRoute(StrictRoute):
    """A strict route whose body has at most `BODY_MAX` bytes, whatever `api.max_body_bytes` allows."""

    max_body = BODY_MAX
