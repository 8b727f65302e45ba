"""An event as it is put into the outbox. Shape only."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class OutboxRecord(NamedTuple):
    """An event for the outbox.

    Attributes:
        id: The event's identity; its `webhook-id` is made of it.
        organisation_id: Whose endpoints receive it.
        site_id: The site it concerns; None where it concerns none: only endpoints for all sites receive it.
        type: Such as `alert.firing`.
        payload: The `data` of the webhook's body; values that JSON has, UUIDs and aware datetimes.
        created_at: When it happened, aware: the `timestamp` of the webhook's body.
    """

    id: UUID
    organisation_id: UUID
    site_id: UUID | None
    type: str
    payload: dict[str, Any]
    created_at: datetime
