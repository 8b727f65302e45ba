"""Renders the content of a mail as plain text and as HTML. Pure.

`MailContent` is the content of every mail. Its texts are cleaned, but not escaped.

The HTML is one column with inline styles. It loads no resources, so opening a mail is not tracked. It sets
text colours only together with a background, so that it is legible in light and dark mode.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Final, Literal, NamedTuple

from app.notifications.email.mail_texts import MailTexts

type MailTone = Literal["critical", "warning", "info", "resolved", "plain"]
"""The colour of a mail or an item: by severity, resolved, or plain."""

SUBJECT_LIMIT: Final = 150
"""The most characters of a subject."""


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
_FONT: Final = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;"
_CELL: Final = "padding:3px 12px 3px 0;vertical-align:top;text-align:left;font-size:14px;line-height:1.45;"


def render_plain_text(page: MailContent, texts: MailTexts) -> str:
    """Render a mail as plain text, wrapped at 72 characters."""
    parts = [_paragraph(f"[{page.word}] {page.title}"), _paragraph(page.lead)]
    if page.rows:
        parts.append(_hanging(f"{label}{texts.colon}{value}" for label, value in page.rows))
    if page.advice:
        parts.append(_paragraph(f"{texts.advice}{texts.colon.rstrip(' ')}", *page.advice))
    if page.items:
        parts.append(_hanging(_item_text(item, texts) for item in page.items))
    if page.more:
        parts.append(_paragraph(page.more))
    if page.link:
        # Not wrapped: a broken link does not work.
        parts.append(f"{texts.open}{texts.colon}{page.link}")
    body = "\n\n".join(parts)
    footer = _paragraph(*page.footer)
    # "-- " on its own line begins the signature, which mail programs leave out of replies.
    return f"{body}\n\n-- \n{footer}\n"


def _item_text(item: MailListItem, texts: MailTexts) -> str:
    line = f"- [{item.word}] {item.title}" + (f"{texts.colon}{item.detail}" if item.detail else "")
    return f"{line} {item.link}" if item.link else line


def _paragraph(*lines: str) -> str:
    return "\n".join(_wrapped(line, "") for line in lines)


def _hanging(lines: Iterable[str]) -> str:
    return "\n".join(_wrapped(line, "  ") for line in lines)


def _wrapped(line: str, indent: str) -> str:
    return textwrap.fill(
        line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def render_html(page: MailContent, texts: MailTexts) -> str:
    """Render a mail as HTML."""
    return "".join(_html(page, texts))


def _html(page: MailContent, texts: MailTexts) -> Iterator[str]:
    yield (
        f'<!DOCTYPE html>\n<html lang="{escape(texts.language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="supported-color-schemes" content="light dark">\n'
        f"<title>{escape(page.subject)}</title>\n</head>\n"
        f'<body style="margin:0;padding:16px;{_FONT}">\n'
        '<table role="presentation" cellpadding="0" cellspacing="0" border="0" width="100%" '
        f'style="max-width:640px;border-left:4px solid {_COLOURS[page.tone]};">\n'
        '<tr><td style="padding:4px 0 4px 16px;">\n'
    )
    yield f'<p style="margin:0 0 8px;">{_badge(page.tone, page.word)}</p>\n'
    yield (
        f'<h1 dir="auto" style="margin:0 0 8px;font-size:20px;line-height:1.3;">{escape(page.title)}</h1>\n'
    )
    yield f'<p dir="auto" style="margin:0 0 12px;font-size:15px;line-height:1.45;">{escape(page.lead)}</p>\n'
    if page.rows:
        yield _table(
            f'<tr><th scope="row" style="{_CELL}font-weight:normal;white-space:nowrap;">{escape(label)}</th>'
            f'<td dir="auto" style="{_CELL}font-weight:bold;">{escape(value)}</td></tr>\n'
            for label, value in page.rows
        )
    if page.advice:
        lines = "<br>\n".join(map(escape, page.advice))
        yield (
            f'<p dir="auto" style="margin:0 0 12px;font-size:15px;line-height:1.45;">'
            f"<strong>{escape(texts.advice)}</strong><br>\n{lines}</p>\n"
        )
    if page.items:
        yield _table(map(_item_html, page.items))
    if page.more:
        yield f'<p style="margin:0 0 12px;font-size:14px;">{escape(page.more)}</p>\n'
    if page.link:
        link = escape(page.link)
        yield f'<p style="margin:0 0 12px;font-size:15px;"><a href="{link}">{escape(texts.open)}</a></p>\n'
    small = "<br>\n".join(map(escape, page.footer))
    yield f'<p style="margin:16px 0 0;font-size:12px;line-height:1.45;">{small}</p>\n'
    yield "</td></tr>\n</table>\n</body>\n</html>\n"


def _table(rows: Iterator[str]) -> str:
    return (
        '<table cellpadding="0" cellspacing="0" border="0" style="margin:0 0 12px;border-collapse:collapse;">'
        f"\n{''.join(rows)}</table>\n"
    )


def _item_html(item: MailListItem) -> str:
    title = escape(item.title)
    if item.link:
        title = f'<a href="{escape(item.link)}">{title}</a>'
    return (
        f'<tr><td style="{_CELL}white-space:nowrap;">{_badge(item.tone, item.word)}</td>'
        f'<td dir="auto" style="{_CELL}"><strong>{title}</strong>'
        f"{'<br>' if item.detail else ''}{escape(item.detail)}</td></tr>\n"
    )


def _badge(tone: MailTone, word: str) -> str:
    return (
        f'<span style="display:inline-block;padding:2px 8px;border-radius:4px;font-size:13px;'
        f'font-weight:bold;color:#ffffff;background-color:{_COLOURS[tone]};">{escape(word)}</span>'
    )
