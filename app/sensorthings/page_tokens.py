"""Encodes where a page ended in `$skipToken`, and selects what follows it."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, false, literal, or_
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.platform.kernel.instants import from_datetime, to_datetime
from app.sensorthings.relations import TypedSql
from app.standard_apis.query_error import QueryError

_Instant = TIMESTAMP(timezone=True)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Any]).decode
_LONGEST_TOKEN: Final = 2_000


def order_clauses(order: Sequence[tuple[TypedSql, bool]]) -> list[ColumnElement[Any]]:
    """Return the ORDER BY of an order; nothing comes before null."""
    return [(sql.desc() if descending else sql.asc()).nulls_last() for (_, sql), descending in order]


def after_token(order: Sequence[tuple[TypedSql, bool]], token: str) -> ColumnElement[bool]:
    """Return the condition of what follows the last entity of a page (QueryError)."""
    values = decode_token(token)
    if len(values) != len(order):
        raise make_token_error()
    alternatives: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for (typed, descending), value in zip(order, values, strict=True):
        if value is None:
            equal.append(typed.sql.is_(None))
            continue
        bound = _bind(typed, value)
        beyond = typed.sql < bound if descending else typed.sql > bound
        alternatives.append(and_(*equal, or_(beyond, typed.sql.is_(None))))
        equal.append(typed.sql == bound)
    return or_(*alternatives) if alternatives else false()


def _bind(typed: TypedSql, value: Any) -> Any:  # noqa: ANN401 (any value of a token)
    expected: dict[str, Any] = {
        "text": str,
        "bool": bool,
        "number": (int, float),
        "instant": int,
    }
    # A bool is an int.
    if not isinstance(value, expected[typed.kind]) or isinstance(value, bool) != (typed.kind == "bool"):
        raise make_token_error()
    if typed.kind != "instant":
        return value
    try:
        return literal(to_datetime(int(value)), _Instant)
    except OverflowError:
        raise make_token_error() from None


def encode_token(values: Sequence[Any]) -> str:
    """Encode the order values of the last entity of a page."""
    plain = [from_datetime(value) if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(_encode(plain)).decode().rstrip("=")


def decode_token(token: str) -> list[Any]:
    """Decode `$skipToken` (QueryError)."""
    if len(token) > _LONGEST_TOKEN:
        raise make_token_error()
    try:
        values = _decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, msgspec.DecodeError):
        raise make_token_error() from None
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise make_token_error()
    return values


def make_token_error() -> QueryError:
    """Make the error of a token that another query has returned, or none."""
    return QueryError(
        "The $skipToken does not belong to this query. Follow the `@iot.nextLink` as it is.",
        code="invalid_option",
        option="$skipToken",
    )
