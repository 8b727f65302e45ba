"""Microsoft Teams' Workflows webhooks: a message with one Adaptive Card. Pure.

Texts are runs of `RichTextBlock`, which know no Markdown. Teams shows cards up to version 1.5, of at most
28 KB: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook.
"""

from typing import Any, Final

import msgspec

from app.notifications.email.mail_content import MailTone
from app.notifications.formats.chat_message import ChatMessage, truncate_text

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
    """Return a message as a Workflow takes it; lines of a list are left out until it is small enough."""
    for lines in (len(message.lines), 20, 10, 0):
        made = _message(message, lines)
        if len(made) <= SIZE_LIMIT:
            break
    return made


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
