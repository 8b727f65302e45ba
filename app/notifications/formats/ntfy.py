"""ntfy: a message to be published as JSON. Pure; the topic is put in when it is sent.

A message over 4,096 bytes would become an attachment: https://docs.ntfy.sh/publish/#publish-as-json.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.notifications.email.mail_content import MailTone
from app.notifications.formats.chat_message import ChatMessage, truncate_utf8

MESSAGE_LIMIT: Final = 4096
"""Bytes."""

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
    """Return a message as ntfy takes it, but for its topic."""
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
