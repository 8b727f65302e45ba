"""Keyset pages: `{"data": […], "next": cursor-or-null}`.

A cursor is opaque to clients. It holds the sort key of the last row of a page and a checksum, so that a
forged or cut one is refused with a clear code rather than giving odd pages. It grants nothing: every query
is filtered by organisation all the same.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from app.platform.kernel.errors import InvalidError

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
CURSOR_LIMIT = 2048
"""Characters of a cursor: one of a name of 200 characters fits."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=f"Rows a page, at most {MAX_LIMIT}")]
Cursor = Annotated[
    str | None,
    Query(max_length=CURSOR_LIMIT, description="The `next` of the page before; leave out for the first page"),
]


class Page[T](BaseModel):
    """One page of a list."""

    data: list[T]
    next: str | None = Field(description="Give this as `cursor` for the next page; null on the last one")


def encode_cursor(kind: str, *key: str | float | None) -> str:
    """Make a cursor of the sort key of a page's last row. `kind` ties it to one list, in one order."""
    body = json.dumps([kind, *key], separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


def read_cursor_kind(cursor: str) -> str | None:
    """Of which list a cursor is, if it is one."""
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
    """Read a cursor back.

    Args:
        kind: The list that it must be of.
        cursor: What the client gave.
        types: What makes each part of the key out of its JSON form; a TypeError or ValueError refuses it. The
            checksum is no signature: a part that goes to the database as a text needs a check of its own.

    Raises:
        InvalidError: `invalid_cursor` for one that this list did not make.
    """
    refused = InvalidError(
        "The cursor is not one that this list gave. Start again without `cursor`.", code="invalid_cursor"
    )
    opened = _open(cursor)
    if opened is None or opened[0] != kind:
        raise refused
    try:
        return [wanted(part) for wanted, part in zip(types, opened[1:], strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise refused from None


def cut_page[R](
    rows: Sequence[R], limit: int, cursor_of: Callable[[R], str]
) -> tuple[Sequence[R], str | None]:
    """Cut what a query for `limit + 1` rows gave: the page's rows, and the next cursor if there is more."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor_of(rows[limit - 1])
