"""Renders events as bodies, by the kind and the format of the endpoint.

Pure. A body is rendered once, with its delivery, so that every attempt and replay sends the same bytes.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.email.mail_rendering import SiteName, render_mail
from app.notifications.formats import (
    alertmanager_api,
    alertmanager_webhook,
    chat_formats,
    discord,
    native_and_cloudevents,
    pagerduty,
)
from app.notifications.formats.chat_message_content import ChatMessage, build_chat_message

NATIVE: Final = "native"
CLOUDEVENTS: Final = "cloudevents"
ALERTMANAGER: Final = "alertmanager"

_EMAIL: Final = "email"
_MQTT: Final = "mqtt"
_CHATS: Final[Mapping[str, Callable[[ChatMessage], bytes]]] = {
    "slack": chat_formats.render_slack_message,
    "teams": chat_formats.render_teams_message,
    "discord": discord.render_discord_message,
    "pagerduty": pagerduty.render_pagerduty_event,
    "ntfy": chat_formats.render_ntfy_message,
}

TEXT_KINDS: Final = frozenset({_EMAIL, *_CHATS})
"""The kinds of endpoints that get text messages in a language, with the names of sites."""


class RenderContext(NamedTuple):
    """An event with the values that rendering needs.

    Attributes:
        body: The native body.
        event_id: The event's id, from which `webhook-id` is derived.
        organisation_id: The event's organisation.
        site_id: The event's site, if there is one.
        public_url: The base URL of links, without a trailing slash.
        language: The language of text messages: `en` or `fr`.
        sites: The names of sites for text messages, by id.
    """

    body: bytes
    event_id: UUID
    organisation_id: UUID
    site_id: UUID | None
    public_url: str
    language: str = "en"
    sites: Mapping[str, SiteName] = {}


def render_event(kind: str, format_: str, event: RenderContext) -> bytes:
    """Render an event for an endpoint.

    Args:
        kind: The endpoint's kind. Only webhooks and MQTT have a choice of formats.
        format_: `native`, `cloudevents` or `alertmanager`.
        event: The event.

    Raises:
        ValueError: There is no such format.
    """
    if kind == _EMAIL:
        return render_mail(event.body, event.language, event.sites)
    if kind in _CHATS:
        return _CHATS[kind](build_chat_message(event.body, event.language, event.sites, event.public_url))
    if kind == ALERTMANAGER:
        return alertmanager_api.render_alertmanager_alerts(
            event.body, event.organisation_id, event.public_url
        )
    if format_ == NATIVE:
        # MQTT has no header for the message's id.
        return (
            native_and_cloudevents.add_message_id(event.body, build_message_id(event.event_id))
            if kind == _MQTT
            else event.body
        )
    if format_ == CLOUDEVENTS:
        return native_and_cloudevents.render_cloudevent(
            event.body,
            message_id=build_message_id(event.event_id),
            organisation_id=event.organisation_id,
            site_id=event.site_id,
        )
    if format_ == ALERTMANAGER:
        return alertmanager_webhook.render_alertmanager_webhook(
            event.body, event.organisation_id, event.public_url
        )
    raise ValueError(f"there is no format {format_}")
