"""The history in entries: what happened together is one. Pure.

Two hundred boxes that are added one by one, as provisioning does, are one line. Changes belong together where
they are of one kind and say the same, of one site, each at most an hour after the one before.

The history, the page on how to read the register, and the one of what is not there. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.about_texts import ABOUT
from app.public_register.change_texts import describe_change
from app.public_register.page_frame import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.register_model import PublishedSite, RegisterChange, RegisterSnapshot

MERGE_WINDOW: Final = timedelta(hours=1)
_COUNTED: Final = frozenset({"boxes_added", "boxes_removed", "boxes_moved"})
_OF_PURPOSES: Final = frozenset(
    {
        *("purpose_declared", "purpose_changed", "purpose_approved", "purpose_approval_withdrawn"),
        "purpose_ended",
    }
)


@dataclass(frozen=True, slots=True)
class ChangeHistoryEntry:
    """Changes that happened together.

    Attributes:
        change: The newest of them; its `data` is of all of them: `count` boxes, or `purposes`.
        first: The oldest of them, by which the entry is known: it stays when others join.
    """

    change: RegisterChange
    first: RegisterChange


@dataclass(frozen=True, slots=True)
class ChangeHistoryPage:
    """A page of the history.

    Attributes:
        entries: The newest first.
        before: The id from before which the next page goes on; None: there is none.
    """

    entries: Sequence[ChangeHistoryEntry]
    before: int | None = None


def group_changes(changes: Iterable[RegisterChange], most: int, *, is_all: bool = True) -> ChangeHistoryPage:
    """Group changes, the newest first, into at most so many entries.

    Args:
        changes: The newest first.
        most: How many entries a page has.
        is_all: Whether there are no older ones than these.
    """
    entries: list[ChangeHistoryEntry] = []
    open_at: dict[object, int] = {}
    last: RegisterChange | None = None
    for change in changes:
        key = _key(change)
        place = None if key is None else open_at.get(key)
        if place is not None and entries[place].first.at - change.at <= MERGE_WINDOW:
            entries[place] = _joined(entries[place], change)
        elif len(entries) == most:
            return ChangeHistoryPage(entries, None if last is None else last.id)
        else:
            if key is not None:
                open_at[key] = len(entries)
            entries.append(_begun(change))
        last = change
    return ChangeHistoryPage(entries, None if is_all or last is None else last.id)


def _key(change: RegisterChange) -> object | None:
    """What changes have in common that are told together; None: it is told by itself."""
    if change.kind in _COUNTED:
        return change.site_id, change.kind
    if change.kind in _OF_PURPOSES and "purpose" in change.data:
        rest = {name: value for name, value in change.data.items() if name not in {"purpose", "ends_at"}}
        return change.site_id, change.kind, repr(sorted(rest.items()))
    return None


def _begun(change: RegisterChange) -> ChangeHistoryEntry:
    data: dict[str, Any] = dict(change.data)
    if "purpose" in data:
        data["purposes"] = [data.pop("purpose")]
    return ChangeHistoryEntry(replace(change, data=data), change)


def _joined(entry: ChangeHistoryEntry, change: RegisterChange) -> ChangeHistoryEntry:
    data: dict[str, Any] = dict(entry.change.data)
    if "purposes" in data:
        # In the order in which they happened, each once.
        data["purposes"] = list(dict.fromkeys([change.data["purpose"], *data["purposes"]]))
    else:
        data["count"] += change.data["count"]
    return ChangeHistoryEntry(replace(entry.change, data=data), change)


def build_change_rows(
    entries: Sequence[ChangeHistoryEntry], frame: PageContext, register: RegisterSnapshot
) -> list[dict[str, str]]:
    """Entries as their template has them. A site that is in the register no more has no page."""
    writing = frame.writing
    return [
        {
            "iso": format_us(from_datetime(each.at)),
            "day": writing.day(each.at),
            "site": each.site_name,
            "href": frame.to(f"/public/sites/{each.site_id}") if each.site_id in register.sites else "",
            "said": describe_change(each, writing),
        }
        for each in (entry.change for entry in entries)
    ]


def render_changes_page(
    page: ChangeHistoryPage, register: RegisterSnapshot, frame: PageContext, *, site: PublishedSite | None
) -> str:
    """The history of all sites, or of one."""
    writing = frame.writing
    query = {} if site is None else {"site": str(site.id)}
    path = "/public/changes"
    feed = "/public/changes.atom" if site is None else f"/public/sites/{site.id}/changes.atom"
    return render_page(
        "changes.html",
        frame,
        title=writing.word("nav_changes"),
        path=path,
        query=query,
        data=[(build_localized_url(feed, writing.language), "Atom")],
        heading=writing.word("nav_changes")
        if site is None
        else writing.filled(WORDS["history_of"], name=site.name),
        changes=build_change_rows(page.entries, frame, register),
        older="" if page.before is None else frame.to(path, **query, before=page.before),
    )


def render_about_page(frame: PageContext) -> str:
    """How to read the register."""
    writing = frame.writing
    return render_page(
        "about.html",
        frame,
        title=writing.word("nav_about"),
        path="/public/about",
        about=[
            (writing.said(heading), [writing.said(each) for each in paragraphs])
            for heading, paragraphs in ABOUT
        ],
    )


def render_missing_page(frame: PageContext) -> str:
    """Of a site that is not there."""
    return render_page("missing.html", frame, title=frame.writing.word("missing_title"), path="/public")
