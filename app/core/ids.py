"""Identifiers: UUID version 7, so that their order is the order of creation."""

from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.errors import NotFoundError


def new_id() -> UUID:
    """A new identifier, greater than those made before it (to the millisecond)."""
    return uuid7()


def parse_id(text: str, what: str) -> UUID:
    """Read an identifier from a path. What cannot be one does not exist: NotFoundError."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(what, text) from None
