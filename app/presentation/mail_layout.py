"""Renders the content of a mail as plain text and as HTML. Pure.

`MailContent` is the content of every mail. Its texts are cleaned, but not escaped: the template does that.
"""

import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, Literal, NamedTuple

from jinja2 import Environment

from app.presentation.languages import Language
from app.presentation.template_environment import create_template_environment
from app.presentation.translation import choose_text, translated
from app.presentation.typography import COLONS

type MailTone = Literal["critical", "warning", "info", "resolved", "plain"]
"""The colour of a mail or an item: by severity, resolved, or plain."""

SUBJECT_LIMIT: Final = 150
"""The most characters of a subject."""
ADVICE_HEADING: Final = translated("What to do", context="mail")
LINK_LABEL: Final = translated("Open in Vigie", context="mail")


class MailListItem(NamedTuple):
    """An item of a list.

    Attributes:
        tone: The colour of the badge.
        word: The word in the badge: a severity, or resolved.
        title: The title.
        detail: The rest of the item; may be empty.
        link: The link of the title; None: no link.
    """

    tone: MailTone
    word: str
    title: str
    detail: str
    link: str | None = None


class MailContent(NamedTuple):
    """The content of a mail.

    Attributes:
        subject: The subject, at most SUBJECT_LIMIT characters.
        tone, word: The colour of the badge, and the word in it.
        title: The headline.
        lead: The first sentence.
        rows: The facts, as (label, value).
        advice: The lines of advice.
        items: The items of the list.
        more: A sentence with the number of unlisted items.
        footer: Small print.
        link: The link to the alert or incident; None: no link.
        thread: The thread of related mails; None: no thread.
    """

    subject: str
    tone: MailTone
    word: str
    title: str
    lead: str
    rows: tuple[tuple[str, str], ...] = ()
    advice: tuple[str, ...] = ()
    items: tuple[MailListItem, ...] = ()
    more: str | None = None
    footer: tuple[str, ...] = ()
    link: str | None = None
    thread: str | None = None


_WIDTH: Final = 72
_COLOURS: Final[Mapping[MailTone, str]] = {
    "critical": "#b3261e",
    "warning": "#8a5a00",
    "info": "#1a5fb4",
    "resolved": "#1e6b34",
    "plain": "#555555",
}


def render_plain_text(page: MailContent, language: Language) -> str:
    """Render a mail as plain text, wrapped at 72 characters."""
    colon = COLONS[language]
    parts = [_paragraph(f"[{page.word}] {page.title}"), _paragraph(page.lead)]
    if page.rows:
        parts.append(_hanging(f"{label}{colon}{value}" for label, value in page.rows))
    if page.advice:
        parts.append(_paragraph(f"{choose_text(ADVICE_HEADING, language)}{colon.rstrip(' ')}", *page.advice))
    if page.items:
        parts.append(_hanging(_item_text(item, colon) for item in page.items))
    if page.more:
        parts.append(_paragraph(page.more))
    if page.link:
        # Not wrapped: a broken link does not work.
        parts.append(f"{choose_text(LINK_LABEL, language)}{colon}{page.link}")
    body = "\n\n".join(parts)
    footer = _paragraph(*page.footer)
    # "-- " on its own line begins the signature, which mail programs leave out of replies.
    return f"{body}\n\n-- \n{footer}\n"


def _item_text(item: MailListItem, colon: str) -> str:
    line = f"- [{item.word}] {item.title}" + (f"{colon}{item.detail}" if item.detail else "")
    return f"{line} {item.link}" if item.link else line


def _paragraph(*lines: str) -> str:
    return "\n".join(_wrapped(line, "") for line in lines)


def _hanging(lines: Iterable[str]) -> str:
    return "\n".join(_wrapped(line, "  ") for line in lines)


def _wrapped(line: str, indent: str) -> str:
    return textwrap.fill(
        line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def render_html(page: MailContent, language: Language) -> str:
    """Render a mail as HTML."""
    template = _environment().get_template("mail.html")
    html = template.render(
        page=page,
        language=language,
        colours=_COLOURS,
        advice=choose_text(ADVICE_HEADING, language),
        open=choose_text(LINK_LABEL, language),
    )
    return f"{html}\n"


@cache
def _environment() -> Environment:
    return create_template_environment()
