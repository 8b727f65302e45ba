"""Slack's incoming webhooks: a message of blocks (Block Kit). Pure.

Texts are `plain_text`, in which nothing is a link or a mention; only our own link is `mrkdwn`. Limits:
https://docs.slack.dev/reference/block-kit/blocks.
"""

from typing import Any, Final

import msgspec

from app.notifications.formats.chat_message import ChatMessage, split_lines, truncate_text

HEADER_LIMIT: Final = 150
TEXT_LIMIT: Final = 3000
FIELDS_LIMIT: Final = 10
FIELD_LIMIT: Final = 2000
BLOCKS_LIMIT: Final = 50

_LIST_BLOCKS: Final = 10

type _Block = dict[str, Any]


def render_slack_message(message: ChatMessage) -> bytes:
    """Return a message as Slack takes it."""
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
    # What notifications show, where blocks cannot be.
    fallback = _escaped(truncate_text(f"{message.headline}\n{message.sentence}", TEXT_LIMIT))
    return msgspec.json.encode({"text": fallback, "blocks": blocks})


def _fields(message: ChatMessage) -> list[_Block]:
    fields = [_plain(f"{label}\n{value}", FIELD_LIMIT) for label, value in message.facts[:FIELDS_LIMIT]]
    return [{"type": "section", "fields": fields}] if fields else []


def _section(text: str) -> _Block:
    return {"type": "section", "text": _plain(text, TEXT_LIMIT)}


def _plain(text: str, limit: int) -> _Block:
    # `emoji`: whether `:name:` becomes one; names of others are shown as they are written.
    return {"type": "plain_text", "text": truncate_text(text, limit) or "-", "emoji": False}


def _escaped(text: str) -> str:
    """Escape Slack's three control characters: no mention, no link of others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
