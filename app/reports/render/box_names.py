"""What boxes are called in a report, so that no two of them are called alike. Pure.

Owns how labels are told apart, whole and cut: by the box's id where names coincide.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from app.reports.render.number_formats import clean_name

_ELLIPSIS: Final = "…"


def make_unique_labels(boxes: Sequence[tuple[str, str | None]]) -> list[str]:
    """The labels of boxes, each another: the name, with the id where several have the same.

    Args:
        boxes: the id of each, and what its client calls it.
    """
    labels = [clean_name(name) if name else box for box, name in boxes]
    # A name with an id behind it may be what a further box is called: that one gets its id too.
    while alike := _alike(labels):
        changed = [
            append_box_id(label, box) if place in alike else label
            for place, (label, (box, _)) in enumerate(zip(labels, boxes, strict=True))
        ]
        if changed == labels:
            break
        labels = changed
    return labels


def append_box_id(label: str, box: str) -> str:
    """A label that has the box's id in it."""
    return label if label == box or label.endswith(_behind(box)) else label + _behind(box)


def shorten_labels(labels: Sequence[str], limit: int) -> list[str]:
    """Labels of at most so many characters, each another where the whole ones are.

    They are cut at their end; in their middle where that leaves several alike; else numbered.
    """
    short = [_cut(label, limit, limit - 1) for label in labels]
    for place in _alike(short):
        short[place] = _cut(labels[place], limit, (limit - 1) // 2)
    for number, place in enumerate(sorted(_alike(short)), 1):
        mark = f"{number}. "
        short[place] = mark + _cut(labels[place], limit - len(mark), (limit - 1) // 2)
    return short


def _behind(box: str) -> str:
    return f" ({box})"


def _cut(label: str, limit: int, head: int) -> str:
    """A label without what lies between its first characters and as many of its last ones as fit."""
    if len(label) <= limit:
        return label
    tail = limit - 1 - head
    return label[:head].rstrip() + _ELLIPSIS + (label[-tail:].lstrip() if tail else "")


def _alike(labels: Sequence[str]) -> set[int]:
    """The places of labels that look like another one."""
    seen = [unicodedata.normalize("NFKC", label) for label in labels]
    counts = Counter(seen)
    return {place for place, label in enumerate(seen) if counts[label] > 1}
