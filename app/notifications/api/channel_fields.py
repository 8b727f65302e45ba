"""The fields that channels of every kind have in common. Shapes only."""

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
from app.notifications.api.endpoint_schemas import Enabled, Rate
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, RequestBody, TenantId

Language = Annotated[Literal["en", "fr"], Field(description="What messages are written in")]


def build_chat_grouping() -> Grouping:
    """Return how alerts are put together by default in chats."""
    return Grouping(by=["site", "rule"], wait="PT10S", interval="PT5M")


class ChannelCreateBase(RequestBody):
    """What every channel to be has."""

    organisation_id: TenantId = None
    site_ids: Sites | None = None
    min_severity: MinSeverity = None
    rate_per_s: Rate | None = None
    description: Description | None = None
    recipient: Recipient = None
    enabled: Enabled = True


class ChannelOutBase(ResourceModel):
    """What every channel has."""

    id: UUID
    organisation_id: UUID
    events: list[str] = Field(examples=[list(SEVERE_EVENTS)])
    site_ids: list[UUID] | None = Field(description="Null: events of every site")
    min_severity: MinSeverity
    grouping: Annotated[Grouping | None, GROUPING]
    rate_per_s: float | None = Field(description="Null: no limit")
    description: str | None
    recipient: Annotated[str | None, RECIPIENT]
    enabled: bool = Field(description="False: nothing new is sent here, and what is pending waits")
    disabled_reason: str | None = Field(
        description="Why Vigie disabled it: `gone` (it answered 410), or `failing` for too long",
        examples=[None],
    )
    disabled_at: datetime | None = Field(description="When Vigie disabled it", examples=[None])
    created_at: datetime
    updated_at: datetime
