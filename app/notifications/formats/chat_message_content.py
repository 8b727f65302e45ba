"""Builds the message of an event for chat and paging services: headline, sentence, facts, link. Pure.

The modules of the services render it. Texts are cleaned, but not escaped.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from app.notifications.email.mail_rendering import SiteName, build_event_mail
from app.notifications.events.event_enrichment import build_event_link
from app.notifications.sentences import event_sentence
from app.presentation.languages import Language, get_language
from app.presentation.mail_layout import ADVICE_HEADING, LINK_LABEL, MailContent, MailListItem, MailTone
from app.presentation.translation import choose_text
from app.presentation.typography import COLONS, truncate_text

EMOJI: Final[Mapping[MailTone, str]] = {
    "critical": "\U0001f534",
    "warning": "\U0001f7e0",
    "info": "\U0001f535",
    "resolved": "\u2705",
    "plain": "\u2139\ufe0f",
}
"""The sign at the beginning of a headline: a red, orange or blue circle, a tick, an information sign."""

COLOURS: Final[Mapping[MailTone, int]] = {
    "critical": 0xB3261E,
    "warning": 0x8A5A00,
    "info": 0x1A5FB4,
    "resolved": 0x1E6B34,
    "plain": 0x555555,
}
"""The colours, the same as in mails."""


class ChatMessage(NamedTuple):
    """The message of an event.

    Attributes:
        type: The event's type.
        timestamp: When Vigie wrote the event, RFC 3339.
        data: The event's data.
        page: The content of the event's mail.
        sentence: The event's sentence.
        language: `en` or `fr`.
        link: The URL of the alert or incident, or of the API.
    """

    type: str
    timestamp: str | None
    data: Mapping[str, Any]
    page: MailContent
    sentence: str
    language: Language
    link: str

    @property
    def headline(self) -> str:
        """The mail's subject with a sign of its colour."""
        return f"{EMOJI[self.page.tone]} {self.page.subject}"

    @property
    def link_words(self) -> str:
        """The text of the link."""
        return choose_text(LINK_LABEL, self.language)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """The facts, as (label, value)."""
        return self.page.rows

    @property
    def lines(self) -> tuple[str, ...]:
        """The items of a list of alerts, and the number of unlisted ones."""
        more = () if self.page.more is None else (self.page.more,)
        return (*map(_line, self.page.items), *more)

    @property
    def advice(self) -> str:
        """The rule's advice; may be empty."""
        if not self.page.advice:
            return ""
        heading = choose_text(ADVICE_HEADING, self.language) + COLONS[self.language].rstrip(" ")
        return "\n".join((heading, *self.page.advice))


class _Event(msgspec.Struct):
    type: str = ""
    timestamp: str | None = None
    data: dict[str, Any] = {}


def build_chat_message(
    body: bytes, language: str, sites: Mapping[str, SiteName], public_url: str
) -> ChatMessage:
    """Build the message of an event.

    Args:
        body: The native body.
        language: `en` or `fr`; any other: English.
        sites: The names of sites, by id.
        public_url: The base URL of links, without a trailing slash.

    Raises:
        msgspec.DecodeError: The body is not JSON, or not an event.
    """
    event = msgspec.json.decode(body, type=_Event)
    return ChatMessage(
        type=event.type,
        timestamp=event.timestamp,
        data=event.data,
        page=build_event_mail(body, language, sites),
        sentence=event_sentence(event.type, event.data, language),
        language=get_language(language),
        link=build_event_link(public_url, event.data) or public_url,
    )


def _line(item: MailListItem) -> str:
    detail = f": {item.detail}" if item.detail else ""
    return f"{EMOJI[item.tone]} {item.title}{detail}"


def split_lines(lines: tuple[str, ...], limit: int) -> Iterator[str]:
    """Join lines to texts of at most `limit` characters; a longer line is truncated."""
    text = ""
    for line in lines:
        cut = truncate_text(line, limit)
        if text and len(text) + 1 + len(cut) > limit:
            yield text
            text = cut
        else:
            text = f"{text}\n{cut}" if text else cut
    if text:
        yield text


def truncate_utf8(text: str, limit: int) -> str:
    """Truncate a text to `limit` bytes of UTF-8, with an ellipsis."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - len("…".encode())].decode(errors="ignore").rstrip() + "…"
