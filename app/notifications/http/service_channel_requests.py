"""Builds requests to HTTP services (chats, PagerDuty, ntfy, Alertmanager), and classifies responses.

`app.notifications.formats` renders the bodies, which are stored and shown. Credentials are sealed, so they
are added here, for one request only. Pure.
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
"""The path of Alertmanager's API below its URL."""

_REFUSED: Final = "http_error"


class HttpChannelSpec(NamedTuple):
    """An HTTP service.

    Attributes:
        accepted: The statuses of success.
        url_is_secret: Whether the URL is a secret, which is stored sealed and not shown.
        url: The default URL, if there is one.
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
"""The services, by kind of channel."""

ORDERED_KINDS: Final = frozenset(HTTP_CHANNELS)
"""The kinds that get an alert's events in order: these services cannot recognise an older event."""


class ChannelRequest(NamedTuple):
    """An HTTP POST request."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def seal_credentials(sealer: SecretSealer, endpoint_id: UUID, credentials: Mapping[str, str]) -> str | None:
    """Seal a channel's credentials; None if it has none."""
    if not credentials:
        return None
    return CHANNEL_CREDENTIALS.seal(sealer, json.dumps(dict(credentials)), endpoint_id)


def open_credentials(sealer: SecretSealer, endpoint_id: UUID, stored: str | None) -> dict[str, str]:
    """Decrypt a channel's credentials (SealingError)."""
    if stored is None:
        return {}
    opened: dict[str, str] = json.loads(CHANNEL_CREDENTIALS.open(sealer, stored, endpoint_id))
    return opened


def build_channel_request(
    kind: str, target: Mapping[str, Any], credentials: Mapping[str, str], body: bytes
) -> ChannelRequest:
    """Build the request of a delivery.

    Args:
        kind: The channel's kind, one of HTTP_CHANNELS.
        target: The column `webhook_endpoints.target`.
        credentials: The decrypted credentials.
        body: The delivery's body.

    Raises:
        KeyError: The channel lacks a value that its kind needs.
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
    """Add members to a body, which is a non-empty JSON object."""
    return msgspec.json.encode(members)[:-1] + b"," + body[1:]


def _basic(username: str | None, credentials: Mapping[str, str]) -> dict[str, str]:
    if username is None:
        return {}
    pair = f"{username}:{credentials.get('password', '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def classify_service_response(kind: str, reason: str, status: int | None, text: str | None) -> str:
    """Classify a service's response: not every 2xx status is a success of every service.

    Args:
        kind: The channel's kind.
        reason: The reason that the status means in general.
        status: The response's status.
        text: The beginning of the response's body, if it was stored.

    Returns:
        One of `app.notifications.delivery.transport_types.REASONS`.
    """
    if reason != DELIVERED:
        return reason
    if status not in HTTP_CHANNELS[kind].accepted:
        return _REFUSED
    # Slack answers `ok`; any other text comes from another server.
    if kind == "slack" and not "ok".startswith((text or "").strip()):
        return _REFUSED
    return DELIVERED
