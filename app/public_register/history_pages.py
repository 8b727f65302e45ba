"""The history, the page on how to read the register, and the one of what is not there. Pure."""

from collections.abc import Sequence

from app.platform.kernel.instants import format_us, from_datetime
from app.public_register.change_history import Entry, Page
from app.public_register.change_texts import sentence
from app.public_register.guide_texts import ABOUT
from app.public_register.page_frame import Frame, in_language, rendered
from app.public_register.page_texts import WORDS
from app.public_register.register_model import Register, SiteEntry


def lines(entries: Sequence[Entry], frame: Frame, register: Register) -> list[dict[str, str]]:
    """Entries as their template has them. A site that is in the register no more has no page."""
    writing = frame.writing
    return [
        {
            "iso": format_us(from_datetime(each.at)),
            "day": writing.day(each.at),
            "site": each.site_name,
            "href": frame.to(f"/public/sites/{each.site_id}") if each.site_id in register.sites else "",
            "said": sentence(each, writing),
        }
        for each in (entry.change for entry in entries)
    ]


def changes_page(page: Page, register: Register, frame: Frame, *, site: SiteEntry | None) -> str:
    """The history of all sites, or of one."""
    writing = frame.writing
    query = {} if site is None else {"site": str(site.id)}
    path = "/public/changes"
    feed = "/public/changes.atom" if site is None else f"/public/sites/{site.id}/changes.atom"
    return rendered(
        "changes.html",
        frame,
        title=writing.word("nav_changes"),
        path=path,
        query=query,
        data=[(in_language(feed, writing.language), "Atom")],
        heading=writing.word("nav_changes")
        if site is None
        else writing.filled(WORDS["history_of"], name=site.name),
        changes=lines(page.entries, frame, register),
        older="" if page.before is None else frame.to(path, **query, before=page.before),
    )


def about_page(frame: Frame) -> str:
    """How to read the register."""
    writing = frame.writing
    return rendered(
        "about.html",
        frame,
        title=writing.word("nav_about"),
        path="/public/about",
        about=[
            (writing.said(heading), [writing.said(each) for each in paragraphs])
            for heading, paragraphs in ABOUT
        ],
    )


def missing_page(frame: Frame) -> str:
    """Of a site that is not there."""
    return rendered("missing.html", frame, title=frame.writing.word("missing_title"), path="/public")
