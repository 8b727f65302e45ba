"""Renders chat messages for Discord's webhooks, with one embed. Pure.

Markdown in texts is escaped, and mentions are disabled. Limits:
https://docs.discord.com/developers/resources/message#embed-object.
"""

import re
from typing import Any, Final

import msgspec

from app.notifications.formats.chat_message_content import COLOURS, ChatMessage
from app.presentation.date_formats import parse_instant
from app.presentation.typography import truncate_text

TITLE_LIMIT: Final = 256
DESCRIPTION_LIMIT: Final = 4096
FIELDS_LIMIT: Final = 25
FIELD_NAME_LIMIT: Final = 256
FIELD_VALUE_LIMIT: Final = 1024
TOTAL_LIMIT: Final = 6000

_MARKDOWN: Final = re.compile(r"([\\*_~`|>\[\]()#<:@-])")
_BROKEN: Final = re.compile(r"\\+$")


def render_discord_message(message: ChatMessage) -> bytes:
    """Render a message for Discord."""
    title = _fitted(message.headline, TITLE_LIMIT)
    text = "\n".join((message.sentence, *message.lines, *filter(None, (message.advice,))))
    fields = _fields(message)
    left = TOTAL_LIMIT - len(title) - sum(len(each["name"]) + len(each["value"]) for each in fields)
    embed: dict[str, Any] = {
        "title": title,
        "description": _fitted(text, min(DESCRIPTION_LIMIT, left)),
        "url": message.link,
        "color": COLOURS[message.page.tone],
        "fields": fields,
    }
    if parse_instant(message.timestamp) is not None:
        embed["timestamp"] = message.timestamp
    return msgspec.json.encode({"embeds": [embed], "allowed_mentions": {"parse": []}})


def _fields(message: ChatMessage) -> list[dict[str, Any]]:
    """Return as many facts as leave half of the limit for the text."""
    fields: list[dict[str, Any]] = []
    left = TOTAL_LIMIT // 2
    for label, value in message.facts[:FIELDS_LIMIT]:
        name, shown = _fitted(label, FIELD_NAME_LIMIT), _fitted(value, FIELD_VALUE_LIMIT)
        left -= len(name) + len(shown)
        if left < 0:
            break
        fields.append({"name": name, "value": shown, "inline": True})
    return fields


def _fitted(text: str, limit: int) -> str:
    """Escape a text and truncate it to `limit` characters, not inside an escape sequence."""
    escaped = _MARKDOWN.sub(r"\\\1", text)
    if len(escaped) <= limit:
        return escaped or "-"
    head = escaped[: limit - 1]
    slashes = _BROKEN.search(head)
    if slashes is not None and len(slashes.group()) % 2:
        head = head[:-1]
    return truncate_text(head.rstrip() + "…", limit)
