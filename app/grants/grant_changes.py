"""Divides the changes of a grant into those that apply at once and those that need a new acceptance. Pure.

What makes a grant narrower applies at once: fewer sites or metrics, a shorter time, less precise positions,
an earlier end. What makes it wider, and other terms or another purpose, wait for the recipient.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


def _common(before: list[Any], after: list[Any]) -> list[Any]:
    return [each for each in before if each in after]


def _later(before: datetime | None, after: datetime | None) -> datetime | None:
    return max((before, after), key=lambda at: at or _EARLIEST)


def _earlier(before: datetime | None, after: datetime | None) -> datetime | None:
    return min((before, after), key=lambda at: at or _LATEST)


def _coarser(before: int | None, after: int | None) -> int | None:
    return max((before, after), key=lambda metres: metres or 0)


def _unchanged(before: str, _: str) -> str:
    return before


_NARROWER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "purpose": _unchanged,
    "site_ids": _common,
    "metrics": _common,
    "covers_from": _later,
    "covers_until": _earlier,
    "precision_m": _coarser,
    "terms": _unchanged,
    "valid_until": _earlier,
}
CONTENT_FIELDS: Final = tuple(_NARROWER)
"""The fields of a grant that the recipient accepts."""
_TIMES: Final = frozenset({"covers_from", "covers_until", "valid_until"})


class GrantContentValues(Protocol):
    """The columns of a grant that `read_content` reads."""

    @property
    def offered(self) -> dict[str, Any] | None: ...  # noqa: D102 (as the column)


class DividedChange(NamedTuple):
    """A change of a grant, by field.

    Attributes:
        now: The values that apply at once.
        offered: The values that wait for an acceptance.
    """

    now: dict[str, Any]
    offered: dict[str, Any]


def divide_change(current: Mapping[str, Any], change: Mapping[str, Any]) -> DividedChange:
    """Divide a change of accepted content.

    Args:
        current: The accepted values by field.
        change: The new values of some of these fields.
    """
    now, offered = {}, {}
    for name, value in change.items():
        narrower = _NARROWER[name](current[name], value)
        if narrower != current[name]:
            now[name] = narrower
        if narrower != value:
            offered[name] = value
    return DividedChange(now, offered)


def read_content(grant: GrantContentValues) -> dict[str, Any]:
    """Return the accepted content of a grant, by field."""
    return {name: getattr(grant, name) for name in CONTENT_FIELDS}


def read_offered_content(grant: GrantContentValues) -> dict[str, Any]:
    """Return the content of a grant after the acceptance of what is offered, by field."""
    return read_content(grant) | decode_values(grant.offered or {})


def encode_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of content as JSON."""
    return {name: _encode(value) for name, value in values.items()}


def decode_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of content from JSON."""
    return {name: _decode(name, value) for name, value in values.items()}


def _encode(value: Any) -> Any:  # noqa: ANN401 (a column's value)
    if isinstance(value, datetime):
        return value.isoformat()
    return [str(each) for each in value] if isinstance(value, list) else value


def _decode(name: str, value: Any) -> Any:  # noqa: ANN401 (JSON)
    if name in _TIMES and value is not None:
        return datetime.fromisoformat(value)
    return [UUID(each) for each in value] if name == "site_ids" else value


def hash_terms(terms: str) -> str:
    """Return the SHA-256 of terms in UTF-8, hexadecimal."""
    return hashlib.sha256(terms.encode()).hexdigest()


def hash_content(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all content of a grant, hexadecimal: of its JSON with sorted names."""
    text = json.dumps(encode_values(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
