"""Paginates lists by keyset: `{"data": […], "next": cursor-or-null}`.

A cursor is opaque to clients. It contains the sort key of the last row of a page and a checksum, so that a
forged or truncated cursor is rejected with a clear code. It grants no access: every query is limited to the
tenant scope.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from app.platform.kernel.errors import InvalidError

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
CURSOR_LIMIT = 2048
"""Maximum characters of a cursor: enough for a name of 200 characters."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=f"Rows a page, at most {MAX_LIMIT}")]
Cursor = Annotated[
    str | None,
    Query(max_length=CURSOR_LIMIT, description="The `next` of the previous page; omit it for the first page"),
]


class Page[T](BaseModel):
    """One page of a list."""

    data: list[T]
    next: str | None = Field(description="Send this as `cursor` for the next page; null on the last one")


def encode_cursor(kind: str, *key: str | float | None) -> str:
    """Encode the sort key of a page's last row. `kind` binds the cursor to one list and one order."""
    body = msgspec.json.encode([kind, *key])
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


def read_cursor_kind(cursor: str) -> str | None:
    """Return the list of a cursor; None if it is malformed."""
    opened = _open(cursor)
    return None if opened is None else opened[0]


def _open(cursor: str) -> list[Any] | None:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        body = raw[4:]
        opened = json.loads(body) if zlib.crc32(body).to_bytes(4) == raw[:4] else None
    except (ValueError, RecursionError, binascii.Error):
        return None
    return opened if isinstance(opened, list) and opened and isinstance(opened[0], str) else None


def decode_cursor(kind: str, cursor: str, *types: Callable[[Any], Any]) -> list[Any]:
    """Decode a cursor.

    Args:
        kind: The list that it must belong to.
        cursor: The client's value.
        types: Parsers of the parts of the key; a TypeError or ValueError rejects the cursor. The checksum is
            no signature: a text that goes to the database needs a check.

    Raises:
        InvalidError: `invalid_cursor` for one that this list did not return.
    """
    refused = InvalidError(
        "The cursor does not belong to this list. Start again without `cursor`.", code="invalid_cursor"
    )
    opened = _open(cursor)
    if opened is None or opened[0] != kind:
        raise refused
    try:
        return [parse(part) for parse, part in zip(types, opened[1:], strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise refused from None


def cut_page[R](
    rows: Sequence[R], limit: int, cursor_of: Callable[[R], str]
) -> tuple[Sequence[R], str | None]:
    """Split the rows of a query for `limit + 1` rows: the page, and the next cursor if there is more."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor_of(rows[limit - 1])
