"""Identifiers: UUID version 7, so that their order is the order of creation."""

from datetime import datetime
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from app.platform.kernel.errors import NotFoundError

_LATEST_MS: Final = 2**48 - 1


def new_id() -> UUID:
    """A new identifier, greater than those made before it (to the millisecond)."""
    return uuid7()


def first_id(at: datetime) -> UUID:
    """The least identifier that can have been made at a time (aware; to the millisecond).

    What was made before it has a lesser one, as far as the clocks of those who make them agree.
    """
    milliseconds = min(max(int(at.timestamp() * 1000), 0), _LATEST_MS)
    return UUID(int=milliseconds << 80)


def parse_id(text: str, what: str) -> UUID:
    """Read an identifier from a path. What cannot be one does not exist: NotFoundError."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(what, text) from None
