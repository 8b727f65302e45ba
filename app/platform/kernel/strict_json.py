"""Parses JSON strictly (RFC 8259, RFC 7493), wherever the fast telemetry parser is not used. Pure.

Enforces what RFC 7493 (I-JSON) adds to RFC 8259: UTF-8 without a byte-order mark, one document, no NaN or
Infinity, no number beyond a double, no duplicate key, no lone surrogate, and a limit on nesting. Callers
check fields, metrics and times.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, NoReturn

from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

MAX_DEPTH: Final = 8
"""Maximum nesting of arrays and objects; `[]` has depth 1."""

MAX_TEXT: Final = 64
"""Maximum characters of a text in messages of boxes."""

TEXT_OR_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
"""Matches a bracket, or a whole text, closed or not.

The quantifiers are possessive, so that no input makes the pattern backtrack.
"""

_INTEGER_SAFE: Final = 300
_HALF_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_strict_json(data: bytes, *, max_depth: int = MAX_DEPTH) -> Json:
    """Parse one JSON document.

    Integers become `int` (at most 309 digits), all other numbers finite `float`.

    Args:
        data: the document.
        max_depth: maximum nesting of arrays and objects.

    Raises:
        RejectedError: `empty_body`, `invalid_encoding`, `nesting_too_deep`, `invalid_json`,
            `number_out_of_range`, `duplicate_key` or `lone_surrogate`.
    """
    text = _decoded(data)
    if not text.strip(" \t\r\n"):
        raise RejectedError("empty_body", "the body is empty: send a JSON document")
    _check_depth(data, max_depth)
    try:
        document: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RejectedError("invalid_json", _syntax_detail(error, len(text))) from None
    if _HALF_ESCAPED.search(data):
        for found in iterate_texts(document):
            if not _is_whole(found):
                raise RejectedError(
                    "lone_surrogate", f"{format_rejected_value(found)} contains half of a surrogate pair"
                )
    return document


def iterate_texts(value: Json) -> Iterator[str]:
    """Yield every text of a document, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from iterate_texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from iterate_texts(item)


def check_texts(value: Json, max_text: int = MAX_TEXT) -> None:
    """Reject a document in which a text, keys included, contains NUL or is too long.

    Raises:
        RejectedError: `nul_in_text` or `text_too_long`.
    """
    for text in iterate_texts(value):
        if "\0" in text:
            raise RejectedError("nul_in_text", f"{format_rejected_value(text)} contains a NUL character")
        if len(text) > max_text:
            raise RejectedError(
                "text_too_long",
                f"{format_rejected_value(text)} has {len(text)} characters: at most {max_text} are allowed",
            )


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise RejectedError(
            "invalid_encoding", "the body begins with a byte-order mark: send UTF-8 without one"
        )
    # Without a mark, UTF-16 and UTF-32 show as a NUL next to the first character, which is always ASCII.
    if b"\0" in data[:4]:
        raise RejectedError("invalid_encoding", "the body looks like UTF-16 or UTF-32: send UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RejectedError("invalid_encoding", f"byte {error.start} is not UTF-8") from None


def _check_depth(data: bytes, max_depth: int) -> None:
    """Reject a document that is nested too deeply, before anything recursive parses it."""
    depth = 0
    for match in TEXT_OR_BRACKET.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise RejectedError(
                    "nesting_too_deep", f"at byte {match.start()} the nesting is deeper than {max_depth}"
                )
        elif first in b"]}":
            depth -= 1


def _syntax_detail(error: json.JSONDecodeError, length: int) -> str:
    if error.pos >= length:
        return f"the document is cut short after {length} characters"
    if error.msg == "Extra data":
        return f"something follows the document at character {error.pos}: send one document only"
    if error.msg.startswith("Unterminated string"):
        return f"the document is cut short: the text at character {error.pos} is never closed"
    return f"{error.msg} at character {error.pos}"


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RejectedError(
                    "duplicate_key", f"the key {format_rejected_value(key)} occurs twice in one object"
                )
            seen.add(key)
    return found


def _float(token: str) -> float:
    number = float(token)
    if number in (float("inf"), float("-inf")):
        raise RejectedError("number_out_of_range", f"the number {token[:40]} exceeds the range of a double")
    return number


def _integer(token: str) -> int:
    # Checks the length first: converting digits to an integer takes quadratic time.
    if len(token) > _INTEGER_SAFE:
        _float(token)
    return int(token)


def _constant(token: str) -> NoReturn:
    raise RejectedError("invalid_json", f"{token} is not JSON: leave out a value that was not measured")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant
)
