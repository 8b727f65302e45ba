"""Defines the JSON of recent changes: alerts, incidents, endpoints, rules and boxes in one list."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.rules.definitions.severity import Severity

LISTED_CHANGES: Final = 100
"""The most entries of the list of changes."""

CHANGES_DAYS: Final = 7
"""How far back the list of changes reaches (days)."""

ChangeKind = Literal[
    "alert.firing",
    "alert.escalated",
    "alert.deescalated",
    "alert.acknowledged",
    "alert.resolved",
    "incident.detected",
    "incident.confirmed",
    "incident.dismissed",
    "endpoint.failing",
    "endpoint.disabled",
    "rule.created",
    "rule.changed",
    "rule.deleted",
    "box.silent",
    "box.online",
    "box.offline",
]
"""The kinds of changes. Those of alerts, incidents and endpoints are types of events."""


class ChangeSubject(BaseModel):
    """The resource that changed."""

    kind: Literal["alert", "incident", "endpoint", "rule", "box"]
    id: str = Field(examples=["01a21017-b012-70c3-9e7d-1f6a3c5e8b92"])
    name: str | None = Field(
        description="Name of the rule (also for its alerts) or of the box; target of the endpoint",
        examples=["Particules fines"],
    )


class ChangeSite(BaseModel):
    """The site of a change."""

    id: UUID
    name: str = Field(examples=["Rue de Metz"])
    timezone: str = Field(description="IANA time zone of the site", examples=["Europe/Paris"])


class OverviewChange(BaseModel):
    """One change."""

    at: datetime = Field(description="When it happened")
    kind: ChangeKind = Field(examples=["alert.firing"])
    subject: ChangeSubject
    site: ChangeSite | None = Field(description="Null for an endpoint, and for a deleted site")
    severity: Severity | None = Field(description="Of an alert; else null", examples=["warning"])
    sentence: str = Field(
        description="What happened, in `language`",
        examples=["PM2.5 at Rue de Metz is 31.2 µg/m³, above 25 for 10 minutes"],
    )


class OverviewChanges(BaseModel):
    """Recent changes, the newest first."""

    as_of: datetime = Field(description="When this was read: `since` of the next read")
    since: datetime = Field(description=f"The start of the list, at most {CHANGES_DAYS} days ago")
    data: list[OverviewChange] = Field(description=f"At most {LISTED_CHANGES}")
    truncated: bool = Field(description="Whether there are older changes since `since`", examples=[False])
