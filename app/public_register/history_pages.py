"""The history, the page on how to read the register, and the one of what is not there. Pure."""

from collections.abc import Sequence

from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.about_texts import ABOUT
from app.public_register.change_history import ChangeHistoryEntry, ChangeHistoryPage
from app.public_register.change_texts import describe_change
from app.public_register.page_frame import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.register_model import PublishedSite, RegisterSnapshot


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
