"""The history in entries: what happened together is one. Pure.

Two hundred boxes that are added one by one, as provisioning does, are one line. Changes belong together where
they are of one kind and say the same, of one site, each at most an hour after the one before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from app.public_register.register_model import Change

TOGETHER: Final = timedelta(hours=1)
_COUNTED: Final = frozenset({"boxes_added", "boxes_removed", "boxes_moved"})
_OF_PURPOSES: Final = frozenset(
    {
        *("purpose_declared", "purpose_changed", "purpose_approved", "purpose_approval_withdrawn"),
        "purpose_ended",
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Changes that happened together.

    Attributes:
        change: The newest of them; its `data` is of all of them: `count` boxes, or `purposes`.
        first: The oldest of them, by which the entry is known: it stays when others join.
    """

    change: Change
    first: Change


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the history.

    Attributes:
        entries: The newest first.
        before: The id from before which the next page goes on; None: there is none.
    """

    entries: Sequence[Entry]
    before: int | None = None


def group_changes(changes: Iterable[Change], most: int, *, is_all: bool = True) -> Page:
    """Group changes, the newest first, into at most so many entries.

    Args:
        changes: The newest first.
        most: How many entries a page has.
        is_all: Whether there are no older ones than these.
    """
    entries: list[Entry] = []
    open_at: dict[object, int] = {}
    last: Change | None = None
    for change in changes:
        key = _key(change)
        place = None if key is None else open_at.get(key)
        if place is not None and entries[place].first.at - change.at <= TOGETHER:
            entries[place] = _joined(entries[place], change)
        elif len(entries) == most:
            return Page(entries, None if last is None else last.id)
        else:
            if key is not None:
                open_at[key] = len(entries)
            entries.append(_begun(change))
        last = change
    return Page(entries, None if is_all or last is None else last.id)


def _key(change: Change) -> object | None:
    """What changes have in common that are told together; None: it is told by itself."""
    if change.kind in _COUNTED:
        return change.site_id, change.kind
    if change.kind in _OF_PURPOSES and "purpose" in change.data:
        rest = {name: value for name, value in change.data.items() if name not in {"purpose", "ends_at"}}
        return change.site_id, change.kind, repr(sorted(rest.items()))
    return None


def _begun(change: Change) -> Entry:
    data: dict[str, Any] = dict(change.data)
    if "purpose" in data:
        data["purposes"] = [data.pop("purpose")]
    return Entry(replace(change, data=data), change)


def _joined(entry: Entry, change: Change) -> Entry:
    data: dict[str, Any] = dict(entry.change.data)
    if "purposes" in data:
        # In the order in which they happened, each once.
        data["purposes"] = list(dict.fromkeys([change.data["purpose"], *data["purposes"]]))
    else:
        data["count"] += change.data["count"]
    return Entry(replace(entry.change, data=data), change)
