"""Groups register changes into entries; renders the history, help and not-found pages. Pure.

Provisioning adds boxes one by one: two hundred of them are one entry. An entry has changes of one site and of
one kind with the same content, each at most `MERGE_WINDOW` after the one before. The fixed pages are "How to
read it" and the page of a missing site.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.about_texts import ABOUT
from app.public_register.change_texts import describe_change
from app.public_register.page_rendering import PageContext, build_localized_url, render_page
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
    """Changes that are shown as one.

    Attributes:
        change: The newest of them. Its `data` covers all of them: `count` of boxes, or `purposes`.
        first: The oldest of them. Its id identifies the entry, because it stays when later changes join.
    """

    change: RegisterChange
    first: RegisterChange


@dataclass(frozen=True, slots=True)
class ChangeHistoryPage:
    """A page of the history.

    Attributes:
        entries: The newest first.
        before: The cursor of the next page, which has changes with smaller ids; None: this is the last page.
    """

    entries: Sequence[ChangeHistoryEntry]
    before: int | None = None


def group_changes(changes: Iterable[RegisterChange], most: int, *, is_all: bool = True) -> ChangeHistoryPage:
    """Group changes into the entries of a page.

    Args:
        changes: The newest first.
        most: The greatest number of entries.
        is_all: Whether no older changes exist.
    """
    entries: list[ChangeHistoryEntry] = []
    open_at: dict[object, int] = {}
    last: RegisterChange | None = None
    for change in changes:
        key = _key(change)
        index = None if key is None else open_at.get(key)
        if index is not None and entries[index].first.at - change.at <= MERGE_WINDOW:
            entries[index] = _merge(entries[index], change)
        elif len(entries) == most:
            return ChangeHistoryPage(entries, None if last is None else last.id)
        else:
            if key is not None:
                open_at[key] = len(entries)
            entries.append(_start_entry(change))
        last = change
    return ChangeHistoryPage(entries, None if is_all or last is None else last.id)


def _key(change: RegisterChange) -> object | None:
    """Return the key that changes of one entry share; None: the change is an entry of its own."""
    if change.kind in _COUNTED:
        return change.site_id, change.kind
    if change.kind in _OF_PURPOSES and "purpose" in change.data:
        rest = {name: value for name, value in change.data.items() if name not in {"purpose", "ends_at"}}
        return change.site_id, change.kind, repr(sorted(rest.items()))
    return None


def _start_entry(change: RegisterChange) -> ChangeHistoryEntry:
    data: dict[str, Any] = dict(change.data)
    if "purpose" in data:
        data["purposes"] = [data.pop("purpose")]
    return ChangeHistoryEntry(replace(change, data=data), change)


def _merge(entry: ChangeHistoryEntry, change: RegisterChange) -> ChangeHistoryEntry:
    data: dict[str, Any] = dict(entry.change.data)
    if "purposes" in data:
        # In order of time, each once.
        data["purposes"] = list(dict.fromkeys([change.data["purpose"], *data["purposes"]]))
    else:
        data["count"] += change.data["count"]
    return ChangeHistoryEntry(replace(entry.change, data=data), change)


def build_change_rows(
    entries: Sequence[ChangeHistoryEntry], frame: PageContext, register: RegisterSnapshot
) -> list[dict[str, str]]:
    """Build the rows of the history for the template. A site that was removed has no page to link to."""
    formatter = frame.formatter
    return [
        {
            "iso": format_us(from_datetime(each.at)),
            "day": formatter.day(each.at),
            "site": each.site_name,
            "href": frame.to(f"/public/sites/{each.site_id}") if each.site_id in register.sites else "",
            "text": describe_change(each, formatter),
        }
        for each in (entry.change for entry in entries)
    ]


def render_changes_page(
    page: ChangeHistoryPage, register: RegisterSnapshot, frame: PageContext, *, site: PublishedSite | None
) -> str:
    """Render the history of all sites, or of one.

    Args:
        page: The entries.
        register: The current register, which says whether a site still has a page.
        frame: Language and time of the page.
        site: The site; None: all sites.
    """
    formatter = frame.formatter
    query = {} if site is None else {"site": str(site.id)}
    path = "/public/changes"
    feed = "/public/changes.atom" if site is None else f"/public/sites/{site.id}/changes.atom"
    return render_page(
        "changes.html",
        frame,
        title=formatter.word("nav_changes"),
        path=path,
        query=query,
        data=[(build_localized_url(feed, formatter.language), "Atom")],
        heading=formatter.word("nav_changes")
        if site is None
        else formatter.fill(WORDS["history_of"], name=site.name),
        changes=build_change_rows(page.entries, frame, register),
        older="" if page.before is None else frame.to(path, **query, before=page.before),
    )


def render_about_page(frame: PageContext) -> str:
    """Render the page "How to read it"."""
    formatter = frame.formatter
    return render_page(
        "about.html",
        frame,
        title=formatter.word("nav_about"),
        path="/public/about",
        about=[
            (formatter.translate(heading), [formatter.translate(each) for each in paragraphs])
            for heading, paragraphs in ABOUT
        ],
    )


def render_missing_page(frame: PageContext) -> str:
    """Render the page of a site that the register does not have."""
    return render_page("missing.html", frame, title=frame.formatter.word("missing_title"), path="/public")
