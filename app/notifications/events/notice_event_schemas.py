"""Defines the JSON bodies of events about endpoints and subscriptions that fail or were disabled."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.notifications.api.endpoint_fields import Kind
from app.notifications.events.event_types import (
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    EventEnvelope,
)


class NoticeData(BaseModel):
    """A notice about another endpoint that fails or was disabled."""

    endpoint_id: UUID
    organisation_id: UUID
    kind: Kind
    target: str | None = Field(
        description="Scheme, host and port of its URL; or the number of recipients and their domains; or its "
        "kind",
        examples=["https://hooks.example.com", "2 recipients at example.com"],
    )
    description: str | None
    reason: Literal["gone", "failing"] = Field(description="The reason, as a code")
    failing_since: datetime | None
    last_reason: str | None = Field(description="The reason of the last failed attempt")
    last_status: int | None
    pending: int = Field(description="The number of pending deliveries")


class SubscriptionNoticeData(BaseModel):
    """A notice about a subscription to measurements that fails or was disabled."""

    subscription_id: UUID = Field(description="The subscription's id")
    organisation_id: UUID
    name: str = Field(description="The subscription's name", examples=["Open data portal"])
    sink: str = Field(description="The kind of its sink", examples=["postgresql"])
    reason: Literal["gone", "failing", "access_lost"] = Field(
        description="The reason, as a code; `access_lost`: the key or person with whose access it reads may "
        "no longer read measurements"
    )
    failing_since: datetime | None
    last_reason: str | None = Field(description="The reason of the last failed attempt")
    last_status: int | None


class EndpointFailing(EventEnvelope):
    """Another endpoint of the organisation has failed for a day."""

    type: Literal["endpoint.failing"]
    data: NoticeData


class EndpointDisabled(EventEnvelope):
    """Another endpoint of the organisation was disabled: gone, or failing for too long."""

    type: Literal["endpoint.disabled"]
    data: NoticeData


class SubscriptionFailing(EventEnvelope):
    """A subscription to measurements has failed for a day."""

    type: Literal["subscription.failing"]
    data: SubscriptionNoticeData


class SubscriptionDisabled(EventEnvelope):
    """A subscription to measurements was disabled: gone, failing for too long, or without access."""

    type: Literal["subscription.disabled"]
    data: SubscriptionNoticeData


NOTICE_EVENT_SCHEMAS: Final[Mapping[str, type[EventEnvelope]]] = {
    ENDPOINT_FAILING: EndpointFailing,
    ENDPOINT_DISABLED: EndpointDisabled,
    SUBSCRIPTION_FAILING: SubscriptionFailing,
    SUBSCRIPTION_DISABLED: SubscriptionDisabled,
}
"""The model of the body of each event type."""
