"""Provides the FastAPI dependencies of the notification routers: callers and settings."""

from typing import Annotated, Final, Literal

from fastapi import Depends

from app.notifications.http.service_channel_requests import HTTP_CHANNELS
from app.notifications.settings import WebhookSettings
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.runtime.stored_settings import InstallationDependency

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


WebhookSettingsDependency = Annotated[WebhookSettings, Depends(make_resource_dependency(WebhookSettings))]


async def _public_url(installation: InstallationDependency) -> str:
    return installation.public_url


PublicUrl = Annotated[str, Depends(_public_url)]
"""The API's public URL; empty if it is not configured."""
