"""Finds the place of the fault in a refused message, and cuts the message there for display. Pure."""

import re
from typing import Final, NamedTuple

# What details of rejections say: `at character 17`, `byte 3 is not UTF-8`, `from byte 211 on`.
_CHARACTER: Final = re.compile(r"\b(?:at character|after) (\d{1,9})\b")
_BYTE: Final = re.compile(r"\b(?:at|from)? ?byte (\d{1,9})\b")
# A quoted value or key of the message, or the name of a field at the start.
_QUOTED: Final = re.compile(r"'([^']{1,40})'")
_VALUE: Final = re.compile(r"^(?:\w+(?:\[\d+\])?\.)*(\w+) is (-?[0-9][0-9.eE+-]*)\b")
_NAMED: Final = re.compile(r"^(?:\w+(?:\[\d+\])?\.)*(\w+)\b")
_AROUND: Final = 1


class PayloadExcerpt(NamedTuple):
    """A message in three parts.

    Attributes:
        before: What precedes the fault; all of it if the place is unknown.
        fault: The place of the fault; empty if it is unknown.
        after: What follows.
        position: The character at which the fault begins, from 0; None: unknown.
    """

    before: str
    fault: str = ""
    after: str = ""
    position: int | None = None


def locate_fault(payload: str, detail: str) -> PayloadExcerpt:
    """Cut a message at the place that the detail of its rejection names.

    Args:
        payload: The message, if it is text.
        detail: The detail.
    """
    found = _by_number(payload, detail) or _by_value(payload, detail) or _by_quote(payload, detail)
    if found is None:
        return PayloadExcerpt(payload)
    start, end = found
    return PayloadExcerpt(payload[:start], payload[start:end], payload[end:], start)


def _by_number(payload: str, detail: str) -> tuple[int, int] | None:
    match = _CHARACTER.search(detail)
    if match:
        start = int(match[1])
    else:
        match = _BYTE.search(detail)
        if match is None:
            return None
        start = len(payload.encode()[: int(match[1])].decode(errors="ignore"))
    if start > len(payload):
        return None
    # A fault at the end, such as a document that is cut short: its last character shows where.
    start = min(start, max(0, len(payload) - _AROUND))
    return start, start + _AROUND


def _by_value(payload: str, detail: str) -> tuple[int, int] | None:
    match = _VALUE.search(detail)
    if match is None:
        return None
    found = re.search(rf'"{re.escape(match[1])}"\s*:\s*({re.escape(match[2].rstrip("."))})', payload)
    return found.span(1) if found else None


def _by_quote(payload: str, detail: str) -> tuple[int, int] | None:
    for match in _QUOTED.finditer(detail):
        for text in (f'"{match[1]}"', match[1]):
            start = payload.find(text)
            if start >= 0:
                return start, start + len(text)
    named = _NAMED.search(detail)
    start = payload.find(f'"{named[1]}"') if named else -1
    return (start, start + len(named[1]) + 2) if named and start >= 0 else None
