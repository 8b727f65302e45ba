"""What may be kept of a payload that was refused: does it carry what must not enter, and is it text?

Owns how raw bytes are looked at: as gzip, as media, as text, and as neither. What counts is
`content_guard`'s. Pure.

What is looked at is bounded: the first 64 KiB, which is all that is ever kept.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Final

from app.platform.content_policy import encoded_runs as runs
from app.platform.content_policy.content_scanner import (
    NOT_EXAMINED_FINDING,
    ContentExamination,
    ContentFinding,
    examine_source,
)

SEEN_BYTES: Final = 65_536
"""How much of a payload is looked at, and of one that may be kept, kept."""

_GZIP: Final = b"\x1f\x8b"
_LAYERS: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# The readable parts of bytes that are no text. Shorter words come about by chance.
_PRINTED: Final = re.compile(rb"[A-Za-z][0-9A-Za-z_.-]{4,63}+")


@dataclass(frozen=True, slots=True)
class PayloadAssessment:
    """What was found out about refused bytes.

    Attributes:
        finding: what must not enter; None: nothing of the kind.
        readable: whether it is text that may be kept for whoever looks for the cause.
    """

    finding: ContentFinding | None
    readable: bool


def assess_payload(payload: bytes) -> PayloadAssessment:
    """Judge refused bytes. Never fails: a guard that cannot say lets nothing through."""
    try:
        return _judged(payload, _LAYERS)
    except Exception:  # noqa: BLE001 (whatever it is: nothing of it may be kept)
        return PayloadAssessment(NOT_EXAMINED_FINDING, readable=False)


def _judged(payload: bytes, depth: int) -> PayloadAssessment:
    seen = payload[:SEEN_BYTES]
    if seen.startswith(_GZIP) and depth:
        return PayloadAssessment(_judged(_inflated(seen), depth - 1).finding, readable=False)
    if runs.is_media(seen):
        return PayloadAssessment(ContentFinding("media"), readable=False)
    text = _as_text(seen, cut=len(payload) > len(seen))
    if text is None:
        return PayloadAssessment(_printed(seen), readable=False)
    finding = examine_source(text)
    if finding is not None and finding.kind == "not_examined":
        # Too many names for any message: it is refused already, and is not kept.
        return PayloadAssessment(None, readable=False)
    return PayloadAssessment(finding, readable=finding is None and not runs.has_overlong_number(text))


def _as_text(seen: bytes, *, cut: bool) -> str | None:
    """The text that bytes are; None for what is none. Where they were cut the last character may be half."""
    try:
        text = seen.decode("utf-8")
    except UnicodeDecodeError as error:
        if not cut or error.start < len(seen) - 3:
            return None
        text = seen[: error.start].decode("utf-8")
    return None if _CONTROL.search(text) else text


def _printed(seen: bytes) -> ContentFinding | None:
    """What the readable parts of bytes say that are no text: names in CBOR that was cut, UTF-16."""
    if seen[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in seen[:4]:
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            try:
                found = examine_source(seen[: len(seen) // 4 * 4].decode(encoding))
            except UnicodeDecodeError:
                continue
            if found is not None:
                return found
        return None
    examination = ContentExamination(persons=False)
    for found in _PRINTED.findall(seen):
        # Of CBOR the length of a short text is a letter before it.
        for word in (found.decode(), found[1:].decode()):
            kind = examination.of_name(word)
            if kind is not None and kind != "not_examined":
                return ContentFinding(kind)
    return None


def _inflated(payload: bytes) -> bytes:
    """As much as is looked at of what gzip holds; what can be had of it, where it is broken."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        return inflater.decompress(payload, SEEN_BYTES)
    except zlib.error:
        return b""
