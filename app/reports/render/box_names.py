"""Cleans names, and makes unique labels of boxes, in full and shortened. Pure.

Where names coincide, the box's id is added.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from app.presentation.typography import NO_VALUE, clean_line

_ELLIPSIS: Final = "…"
_NAME_LIMIT: Final = 60


def clean_name(text: str) -> str:
    """Clean a name of a client: one line, no invisible characters, at most 60 characters."""
    return clean_line(text, _NAME_LIMIT) or NO_VALUE


def make_unique_labels(boxes: Sequence[tuple[str, str | None]]) -> list[str]:
    """Make a unique label for each box: its name, with its id where names coincide.

    Args:
        boxes: id and name of each box.
    """
    labels = [clean_name(name) if name else box for box, name in boxes]
    # A name with an added id may equal the name of another box. That box then gets its id too.
    while alike := _alike(labels):
        changed = [
            append_box_id(label, box) if position in alike else label
            for position, (label, (box, _)) in enumerate(zip(labels, boxes, strict=True))
        ]
        if changed == labels:
            break
        labels = changed
    return labels


def append_box_id(label: str, box: str) -> str:
    """Add the id of a box to its label, unless it has it already."""
    return label if label == box or label.endswith(_behind(box)) else label + _behind(box)


def shorten_labels(labels: Sequence[str], limit: int) -> list[str]:
    """Shorten unique labels to unique labels of at most `limit` characters.

    Labels are cut at the end. Those that then coincide are cut in the middle, and otherwise numbered.
    """
    short = [_cut(label, limit, limit - 1) for label in labels]
    for position in _alike(short):
        short[position] = _cut(labels[position], limit, (limit - 1) // 2)
    for number, position in enumerate(sorted(_alike(short)), 1):
        mark = f"{number}. "
        short[position] = mark + _cut(labels[position], limit - len(mark), (limit - 1) // 2)
    return short


def _behind(box: str) -> str:
    return f" ({box})"


def _cut(label: str, limit: int, head: int) -> str:
    """Replace the middle of a label with an ellipsis; `head` characters stay before it."""
    if len(label) <= limit:
        return label
    tail = limit - 1 - head
    return label[:head].rstrip() + _ELLIPSIS + (label[-tail:].lstrip() if tail else "")


def _alike(labels: Sequence[str]) -> set[int]:
    """Return the positions of labels that look the same as another one."""
    seen = [unicodedata.normalize("NFKC", label) for label in labels]
    counts = Counter(seen)
    return {position for position, label in enumerate(seen) if counts[label] > 1}
