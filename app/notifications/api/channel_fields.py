"""Defines the request and response fields that channels of every kind share."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from app.notifications.api.endpoint_fields import (
    GROUPING,
    RECIPIENT,
    SEVERE_EVENTS,
    Grouping,
    MinSeverity,
    Recipient,
    Sites,
)
from app.notifications.api.webhook_schemas import Enabled, Rate
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, RequestBody, TenantId

Language = Annotated[Literal["en", "fr"], Field(description="The language of messages")]


def build_chat_grouping() -> Grouping:
    """Return the default grouping of alerts in chats."""
    return Grouping(by=["site", "rule"], wait="PT10S", interval="PT5M")


class ChannelCreateBase(RequestBody):
    """Fields of a new channel of any kind."""

    organisation_id: TenantId = None
    site_ids: Sites | None = None
    min_severity: MinSeverity = None
    rate_per_s: Rate | None = None
    description: Description | None = None
    recipient: Recipient = None
    enabled: Enabled = True


class ChannelOutBase(ResourceModel):
    """Fields of a channel of any kind."""

    id: UUID
    organisation_id: UUID
    events: list[str] = Field(examples=[list(SEVERE_EVENTS)])
    site_ids: list[UUID] | None = Field(description="Null: events of every site")
    min_severity: MinSeverity
    grouping: Annotated[Grouping | None, GROUPING]
    rate_per_s: float | None = Field(description="Null: no limit")
    description: str | None
    recipient: Annotated[str | None, RECIPIENT]
    enabled: bool = Field(description="False: new events are not sent here, and pending deliveries wait")
    disabled_reason: str | None = Field(
        description="Why Vigie disabled it: `gone` (it answered 410), or `failing` (it failed for too long)",
        examples=[None],
    )
    disabled_at: datetime | None = Field(description="When Vigie disabled it", examples=[None])
    created_at: datetime
    updated_at: datetime
