"""Provides the FastAPI dependencies of the notification routers: callers, settings and the sealer."""

from typing import Annotated, Final, Literal

from fastapi import Depends, Request

from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.platform.config.settings import WebhookSettings
from app.platform.identity.principals import Principal, require_scope
from app.platform.secrets.sealing import SecretSealer

type EndpointNoun = Literal["webhook", "channel"]
"""The name of an endpoint in paths: `/v1/{noun}s/{id}`."""

KINDS: Final[dict[EndpointNoun, tuple[str, ...]]] = {
    "webhook": ("webhook",),
    "channel": ("email", "mqtt", *HTTP_CHANNELS),
}
"""The kinds of endpoints below each path."""

READ_SCOPE: Final = "webhooks:read"
Reader = Annotated[Principal, Depends(require_scope(READ_SCOPE))]
Writer = Annotated[Principal, Depends(require_scope("webhooks:write"))]


async def _settings(request: Request) -> WebhookSettings:
    settings: WebhookSettings = request.app.state.settings.webhooks
    return settings


async def _public_url(request: Request) -> str:
    url: str = request.app.state.installation.public_url
    return url


async def _sealer(request: Request) -> SecretSealer:
    sealer: SecretSealer = request.app.state.sealer
    return sealer


WebhookSettingsDependency = Annotated[WebhookSettings, Depends(_settings)]
PublicUrl = Annotated[str, Depends(_public_url)]
"""The API's public URL; empty if it is not configured."""
SealerDependency = Annotated[SecretSealer, Depends(_sealer)]
