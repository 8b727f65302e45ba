"""Channels to services by HTTP: what is posted where, with which credentials, and which answers mean yes.

Owns what each service asks for beside the body of a delivery (`app.notifications.formats`): bodies are
stored and shown, credentials are sealed, so the two meet here, for one request. Pure.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.notifications.delivery.transport_types import DELIVERED
from app.platform.secrets.sealed_columns import CHANNEL_CREDENTIALS
from app.platform.secrets.sealing import SecretSealer

ALERTS_PATH: Final = "/api/v2/alerts"
"""Of Alertmanager, below its address."""

_REFUSED: Final = "http_error"


class HttpChannelSpec(NamedTuple):
    """A service.

    Attributes:
        accepted: The statuses with which it takes a message.
        url_is_secret: Whether its address is a password: stored sealed, and not shown.
        url: Its address by default, where it has one.
    """

    accepted: frozenset[int]
    url_is_secret: bool = False
    url: str | None = None


HTTP_CHANNELS: Final[Mapping[str, HttpChannelSpec]] = {
    "slack": HttpChannelSpec(frozenset({200}), url_is_secret=True),
    "teams": HttpChannelSpec(frozenset({200, 202}), url_is_secret=True),
    "discord": HttpChannelSpec(frozenset({200, 204}), url_is_secret=True),
    "pagerduty": HttpChannelSpec(frozenset({202}), url="https://events.pagerduty.com/v2/enqueue"),
    "ntfy": HttpChannelSpec(frozenset({200}), url="https://ntfy.sh"),
    "alertmanager": HttpChannelSpec(frozenset({200})),
}
"""By the kind of channel."""

ORDERED_KINDS: Final = frozenset(HTTP_CHANNELS)
"""The kinds to which an alert's events are sent one after the other: none of them knows which is newer."""


class ChannelRequest(NamedTuple):
    """What is posted."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def seal_credentials(sealer: SecretSealer, endpoint_id: UUID, credentials: Mapping[str, str]) -> str | None:
    """Seal a channel's credentials; None where it has none."""
    if not credentials:
        return None
    return CHANNEL_CREDENTIALS.seal(sealer, json.dumps(dict(credentials)), endpoint_id)


def open_credentials(sealer: SecretSealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Give a channel's credentials (SealError where they cannot be opened)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(CHANNEL_CREDENTIALS.open(sealer, stored, endpoint_id))
    return opened


def build_channel_request(
    kind: str, target: Mapping[str, Any], credentials: Mapping[str, str], body: bytes
) -> ChannelRequest:
    """Make the request of a delivery.

    Args:
        kind: The channel's, one of HTTP_CHANNELS.
        target: As `webhook_endpoints.target` has it.
        credentials: Opened.
        body: The delivery's.

    Raises:
        KeyError: The channel has not what its kind needs.
    """
    if kind == "pagerduty":
        return ChannelRequest(target["url"], {}, _with(body, routing_key=credentials["routing_key"]))
    if kind == "ntfy":
        token = credentials.get("token")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return ChannelRequest(target["url"], headers, _with(body, topic=target["topic"]))
    if kind == "alertmanager":
        return ChannelRequest(
            f"{target['url'].rstrip('/')}{ALERTS_PATH}", _basic(target.get("username"), credentials), body
        )
    return ChannelRequest(credentials["url"], {}, body)


def _with(body: bytes, **members: str) -> bytes:
    """Add members to a body, which is an object that is not empty."""
    return msgspec.json.encode(members)[:-1] + b"," + body[1:]


def _basic(username: str | None, credentials: Mapping[str, str]) -> dict[str, str]:
    if username is None:
        return {}
    pair = f"{username}:{credentials.get('password', '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def classify_service_response(kind: str, reason: str, status: int | None, text: str | None) -> str:
    """Tell whether a service took a message: what is a success in general may be none of its own.

    Args:
        kind: The channel's.
        reason: What the answer means in general.
        status: Its status.
        text: The beginning of its body, as far as it was kept.

    Returns:
        One of `app.notifications.delivery.transport_types.REASONS`.
    """
    if reason != DELIVERED:
        return reason
    if status not in HTTP_CHANNELS[kind].accepted:
        return _REFUSED
    # Slack says `ok`. Some other page answered where it says something else.
    if kind == "slack" and not "ok".startswith((text or "").strip()):
        return _REFUSED
    return DELIVERED
