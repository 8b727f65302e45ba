"""Defines the request and response bodies of portal links, and of what a link opens."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.notifications.api.endpoint_fields import Format, build_duration_validator
from app.notifications.delivery.models import Endpoint, PortalLink
from app.platform.http.contract.etags import ResponseModel
from app.platform.http.contract.fields import DURATION, Name, RequestBody

LINK_PREFIX: Final = "vgl_"
"""Prefix of the tokens of portal links."""
_SHORTEST_S: Final = 3600
_LONGEST_S: Final = 365 * 86_400
_TOKEN: Final = "vgl_…"  # noqa: S105 (an example)


class PortalLinkCreate(RequestBody):
    """A new portal link of a webhook."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Developers of Cityworks", "lifetime": "P30D"}]}
    )

    name: Annotated[Name, Field(description="For whom the link is", examples=["Developers of Cityworks"])]
    lifetime: Annotated[
        str,
        build_duration_validator(_LONGEST_S, "a year", shortest_s=_SHORTEST_S, shortest_called="an hour"),
        DURATION,
        Field(description="How long the link works: ISO 8601, PT1H to P365D"),
    ] = "P30D"


class PortalLinkOut(ResponseModel):
    """A portal link, without its token."""

    id: UUID
    webhook_id: UUID = Field(description="The webhook that it opens")
    name: str = Field(description="For whom the link is", examples=["Developers of Cityworks"])
    hint: str = Field(description="The beginning of the token", examples=["vgl_a1B2c3"])
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="Its last use, to within a minute")

    @classmethod
    def of(cls, row: PortalLink) -> "PortalLinkOut":
        """Convert a row to its response body."""
        stored = {name: getattr(row, name) for name in cls.model_fields if name != "webhook_id"}
        return cls(webhook_id=row.endpoint_id, **stored)


class PortalLinkCreated(PortalLinkOut):
    """A new portal link. Its token is shown only here."""

    token: str = Field(
        description="The token, for `Authorization: Bearer …` of the calls below `/v1/portal`",
        examples=[_TOKEN],
    )
    url: str = Field(
        description="The page to pass on. The token is in the fragment, which browsers do not send",
        examples=["https://vigie.example.com/console/portal#vgl_…"],
    )


class PortalOut(BaseModel):
    """What a portal link opens: a webhook, without secrets."""

    name: str = Field(description="For whom the link is", examples=["Developers of Cityworks"])
    expires_at: datetime = Field(description="When the link stops working")
    url: str = Field(description="The URL of the webhook", examples=["https://example.com/hooks/vigie"])
    description: str | None = Field(description="The webhook's description")
    format: Format
    events: list[str] = Field(examples=[["alert.firing", "alert.resolved"]])
    enabled: bool

    @classmethod
    def of(cls, link: PortalLink, endpoint: Endpoint) -> "PortalOut":
        """Convert a link and its webhook to a response body."""
        return cls.model_validate(
            {
                "name": link.name,
                "expires_at": link.expires_at,
                "url": endpoint.url,
                "description": endpoint.description,
                "format": endpoint.format,
                "events": endpoint.events,
                "enabled": endpoint.enabled,
            }
        )
