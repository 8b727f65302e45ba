"""What an endpoint is sent of an event: Vigie's own body, or another form that is made of it.

Pure: no database, no clock. Owns which form goes with which kind of endpoint and format. A form is made when
the delivery is, so that every attempt and replay sends the same bytes. Must not decide who receives what.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.email.mail_rendering import SiteName, render_mail
from app.notifications.formats import (
    alertmanager_api,
    alertmanager_webhook,
    discord,
    native,
    pagerduty,
    slack,
)
from app.notifications.formats import (
    native as cloudevents,
)
from app.notifications.formats import (
    slack as ntfy,
)
from app.notifications.formats import (
    slack as teams,
)
from app.notifications.formats.chat_message import ChatMessage, build_chat_message

NATIVE: Final = "native"
CLOUDEVENTS: Final = "cloudevents"
ALERTMANAGER: Final = "alertmanager"

_EMAIL: Final = "email"
_MQTT: Final = "mqtt"
_CHATS: Final[Mapping[str, Callable[[ChatMessage], bytes]]] = {
    "slack": slack.render_slack_message,
    "teams": teams.render_teams_message,
    "discord": discord.render_discord_message,
    "pagerduty": pagerduty.render_pagerduty_event,
    "ntfy": ntfy.render_ntfy_message,
}

TEXT_KINDS: Final = frozenset({_EMAIL, *_CHATS})
"""The kinds of endpoints that are sent words, in a language, with the names of sites."""


class RenderContext(NamedTuple):
    """An event, with what its forms need beside it.

    Attributes:
        body: The native body.
        event_id: The event's identity; `webhook-id` is made of it.
        organisation_id: Whose it is.
        site_id: The site that it concerns, if it is one.
        public_url: Where clients reach the API, for links; without a slash at its end.
        language: Of what is in words: `en` or `fr`.
        sites: Of what is in words: the names of the sites that it may speak of, by their ids.
    """

    body: bytes
    event_id: UUID
    organisation_id: UUID
    site_id: UUID | None
    public_url: str
    language: str = "en"
    sites: Mapping[str, SiteName] = {}


def render_event(kind: str, format_: str, event: RenderContext) -> bytes:
    """Return what an endpoint is sent of an event.

    Args:
        kind: The endpoint's. Formats are those of webhooks and MQTT; every other kind has one form.
        format_: `native`, `cloudevents` or `alertmanager`.
        event: What is sent.

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
        # Over MQTT there are no headers that could say which message it is.
        return (
            native.add_message_id(event.body, build_message_id(event.event_id))
            if kind == _MQTT
            else event.body
        )
    if format_ == CLOUDEVENTS:
        return cloudevents.render_cloudevent(
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
