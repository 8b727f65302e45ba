"""Checks a refused payload for forbidden content and readable text, before it is stored.

Tries bytes as gzip, as media, as text, and as binary data; `content_scanner` detects. Pure.

Only the first 64 KiB are examined, which is also the most that is ever stored.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Final

from app.platform.content_policy import encoded_media_detection as runs
from app.platform.content_policy.content_scanner import (
    NOT_EXAMINED_FINDING,
    ContentExamination,
    ContentFinding,
    examine_source,
)

SEEN_BYTES: Final = 65_536
"""Bytes of a payload that are examined, and stored where it may be stored."""

_GZIP: Final = b"\x1f\x8b"
_LAYERS: Final = 4
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Readable parts of binary data. Shorter words are coincidence.
_PRINTED: Final = re.compile(rb"[A-Za-z][0-9A-Za-z_.-]{4,63}+")


@dataclass(frozen=True, slots=True)
class PayloadAssessment:
    """The result for refused bytes.

    Attributes:
        finding: forbidden content; None: none was found.
        readable: whether it is text that may be stored for diagnosis.
    """

    finding: ContentFinding | None
    readable: bool


def assess_payload(payload: bytes) -> PayloadAssessment:
    """Assess refused bytes. Never raises: if the scan fails, nothing may be stored."""
    try:
        return _assess(payload, _LAYERS)
    except Exception:  # noqa: BLE001 (whatever it is: nothing of it may be stored)
        return PayloadAssessment(NOT_EXAMINED_FINDING, readable=False)


def _assess(payload: bytes, depth: int) -> PayloadAssessment:
    seen = payload[:SEEN_BYTES]
    if seen.startswith(_GZIP) and depth:
        return PayloadAssessment(_assess(_decompress(seen), depth - 1).finding, readable=False)
    if runs.is_media(seen):
        return PayloadAssessment(ContentFinding("media"), readable=False)
    text = _as_text(seen, cut=len(payload) > len(seen))
    if text is None:
        return PayloadAssessment(_examine_printable(seen), readable=False)
    finding = examine_source(text)
    if finding is not None and finding.kind == "not_examined":
        # More names than any valid message has: it was refused anyway, and is not stored.
        return PayloadAssessment(None, readable=False)
    return PayloadAssessment(finding, readable=finding is None and not runs.has_overlong_number(text))


def _as_text(seen: bytes, *, cut: bool) -> str | None:
    """Decode bytes as text; None for binary data. Truncation may have split the last character."""
    try:
        text = seen.decode("utf-8")
    except UnicodeDecodeError as error:
        if not cut or error.start < len(seen) - 3:
            return None
        text = seen[: error.start].decode("utf-8")
    return None if _CONTROL.search(text) else text


def _examine_printable(seen: bytes) -> ContentFinding | None:
    """Examine the readable parts of binary data: names in truncated CBOR, UTF-16."""
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
        # In CBOR the length of a short text is a letter before it.
        for word in (found.decode(), found[1:].decode()):
            kind = examination.classify_name(word)
            if kind is not None and kind != "not_examined":
                return ContentFinding(kind)
    return None


def _decompress(payload: bytes) -> bytes:
    """Decompress as much as is examined; nothing if the data are damaged."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        return inflater.decompress(payload, SEEN_BYTES)
    except zlib.error:
        return b""
