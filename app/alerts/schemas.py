"""The shape of an alert on the wire."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.models import Alert
from app.rules.schemas import Severity

AlertState = Literal["firing", "resolved"]


class AlertOut(BaseModel):
    """One rule firing on one box, until it is resolved. Times of samples are the boxes' own."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    organisation_id: UUID
    rule_id: UUID
    rule_name: str = Field(description="The rule's name now")
    rule_version: int = Field(description="The rule's version when it fired")
    site_id: UUID
    box: str
    metric: str
    severity: Severity = Field(description="The rule's severity when it fired")
    state: AlertState
    value: float = Field(description="Of the sample that fired it")
    threshold: float
    clear: float
    resolved_value: float | None = Field(description="Of the sample that resolved it; null where none did")
    pending_since: datetime = Field(description="Time of the first sample above the threshold")
    started_at: datetime = Field(description="Time of the sample that fired it")
    resolved_at: datetime | None = Field(
        description="Time of the sample that resolved it, or when it was closed without one"
    )
    resolution: str | None = Field(
        description="`cleared` by a sample; else why it was closed: `rule_changed`, `rule_disabled`, "
        "`rule_deleted`, `rule_gone`, `box_deleted`, `box_moved`, `superseded`"
    )
    acknowledged_at: datetime | None
    acknowledged_by: UUID | None = Field(description="The API key that acknowledged it")
    sequence: int = Field(description="Counts up with each event of this alert")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Alert, rule_name: str) -> Self:
        """The shape of a row."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name != "rule_name"}
        return cls(rule_name=rule_name, **columns)
