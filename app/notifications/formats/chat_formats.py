"""Renders chat messages for Slack, Microsoft Teams and ntfy. Pure.

- Slack's incoming webhooks get blocks (Block Kit). Texts are `plain_text`, without links and mentions; only
  Vigie's own link is `mrkdwn`. Limits: https://docs.slack.dev/reference/block-kit/blocks.
- Teams' Workflows webhooks get one Adaptive Card. Texts are runs of `RichTextBlock`, without Markdown. Teams
  shows cards up to version 1.5 and 28 KB:
  https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook.
- ntfy gets JSON; the topic is added when it is sent. A message over 4,096 bytes would become an attachment:
  https://docs.ntfy.sh/publish/#publish-as-json.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.notifications.formats.chat_message_content import ChatMessage, split_lines, truncate_utf8
from app.presentation.mail_layout import MailTone
from app.presentation.typography import truncate_text

HEADER_LIMIT: Final = 150
TEXT_LIMIT: Final = 3000
FIELDS_LIMIT: Final = 10
FIELD_LIMIT: Final = 2000

_LIST_BLOCKS: Final = 10

type _Block = dict[str, Any]


def render_slack_message(message: ChatMessage) -> bytes:
    """Render a message for Slack."""
    blocks = [
        {"type": "header", "text": _plain(message.headline, HEADER_LIMIT)},
        _section(message.sentence),
        *_fields(message),
        *(_section(text) for text in list(split_lines(message.lines, TEXT_LIMIT))[:_LIST_BLOCKS]),
    ]
    if message.advice:
        blocks.append(_section(message.advice))
    link = f"<{_escaped(message.link)}|{_escaped(message.link_words)}>"
    blocks.append(
        {"type": "context", "elements": [{"type": "mrkdwn", "text": truncate_text(link, TEXT_LIMIT)}]}
    )
    # Shown in notifications, which cannot contain blocks.
    fallback = _escaped(truncate_text(f"{message.headline}\n{message.sentence}", TEXT_LIMIT))
    return msgspec.json.encode({"text": fallback, "blocks": blocks})


def _fields(message: ChatMessage) -> list[_Block]:
    fields = [_plain(f"{label}\n{value}", FIELD_LIMIT) for label, value in message.facts[:FIELDS_LIMIT]]
    return [{"type": "section", "fields": fields}] if fields else []


def _section(text: str) -> _Block:
    return {"type": "section", "text": _plain(text, TEXT_LIMIT)}


def _plain(text: str, limit: int) -> _Block:
    # `emoji`: whether `:name:` becomes an emoji; clients' names are shown unchanged.
    return {"type": "plain_text", "text": truncate_text(text, limit) or "-", "emoji": False}


def _escaped(text: str) -> str:
    """Escape Slack's three control characters, so that texts contain no mentions and links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


VERSION: Final = "1.5"
SIZE_LIMIT: Final = 28 * 1024

_CARD: Final = "application/vnd.microsoft.card.adaptive"
_SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"
_COLOURS: Final[dict[MailTone, str]] = {
    "critical": "Attention",
    "warning": "Warning",
    "info": "Accent",
    "resolved": "Good",
    "plain": "Default",
}
_TEXT_LIMIT: Final = 2000

type _Element = dict[str, Any]


def render_teams_message(message: ChatMessage) -> bytes:
    """Render a message for Teams; list items are left out until it is small enough."""
    for lines in (len(message.lines), 20, 10, 0):
        rendered = _message(message, lines)
        if len(rendered) <= SIZE_LIMIT:
            break
    return rendered


def _message(message: ChatMessage, lines: int) -> bytes:
    colour = _COLOURS[message.page.tone]
    body = [
        _text(_run(message.headline, weight="Bolder", size="Large", color=colour)),
        _text(_run(message.sentence)),
        *(_text(_run(f"{label}: ", isSubtle=True), _run(value)) for label, value in message.facts),
        *(_text(_run(line)) for line in message.lines[:lines]),
    ]
    if message.advice:
        body.append(_text(_run(message.advice)))
    card = {
        "$schema": _SCHEMA,
        "type": "AdaptiveCard",
        "version": VERSION,
        "fallbackText": truncate_text(message.sentence, _TEXT_LIMIT),
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": message.link_words, "url": message.link}],
        "msteams": {"width": "Full"},
    }
    attachment = {"contentType": _CARD, "contentUrl": None, "content": card}
    return msgspec.json.encode({"type": "message", "attachments": [attachment]})


def _text(*runs: _Element) -> _Element:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **how: str | bool) -> _Element:
    return {"type": "TextRun", "text": truncate_text(text, _TEXT_LIMIT), **how}


MESSAGE_LIMIT: Final = 4096
"""The most bytes of a message."""

_TITLE_LIMIT: Final = 250
_PRIORITIES: Final[Mapping[MailTone, int]] = {
    "critical": 5,
    "warning": 4,
    "info": 3,
    "resolved": 3,
    "plain": 3,
}
_TAGS: Final[Mapping[MailTone, str]] = {
    "critical": "rotating_light",
    "warning": "warning",
    "info": "information_source",
    "resolved": "white_check_mark",
    "plain": "information_source",
}


def render_ntfy_message(message: ChatMessage) -> bytes:
    """Render a message for ntfy, without its topic."""
    text = "\n".join((message.sentence, *message.lines, *filter(None, (message.advice,))))
    return msgspec.json.encode(
        {
            "title": truncate_utf8(message.page.subject, _TITLE_LIMIT),
            "message": truncate_utf8(text, MESSAGE_LIMIT),
            "priority": _PRIORITIES[message.page.tone],
            "tags": [_TAGS[message.page.tone]],
            "click": message.link,
        }
    )
