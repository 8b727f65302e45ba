"""The shapes of alerts and of what people do with them on the wire. Shapes only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from app.alerts.alert_timeline import TimelineKind
from app.alerts.models import Alert, TimelineEntry
from app.notifications.events.event_schemas import Acknowledger
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    TEXT_LIMIT,
    TEXT_PATTERN,
    Description,
    Identifier,
    Name,
    RequestBody,
)
from app.platform.http.contract.problems import CodedValueError
from app.rules.definitions.severity import Severity

EXAMPLE_SENTENCE: Final = "PM2.5 at Rue de Metz is 42 µg/m³, above 25 for 10 minutes"
EXAMPLE_SENTENCE_FR: Final = "Rue de Metz : PM2,5 à 42 µg/m³, au-dessus de 25 depuis 10 minutes"
"""What stands for a sentence in examples."""

type AlertState = Literal["firing", "resolved"]
MAX_BULK_ALERTS: Final = 200
"""How many alerts one call takes."""


class Suppressed(BaseModel):
    """What mutes an alert."""

    silences: list[UUID] = Field(description="Silences that it matches")
    inhibited_by: list[UUID] = Field(description="Alerts that inhibit it; of many the oldest ones")


class AlertOut(ResourceModel):
    """One rule firing on a box, or on its site, until it is resolved. Times of samples are the boxes' own."""

    volatile = frozenset({"current_value", "current_time"})

    id: UUID
    organisation_id: UUID
    rule_id: UUID
    rule_name: str = Field(description="The rule's name now")
    rule_version: int = Field(description="The rule's version when it fired")
    sentence: str = Field(description="What is the matter, in one sentence", examples=[EXAMPLE_SENTENCE])
    sentence_fr: str = Field(description="The same in French", examples=[EXAMPLE_SENTENCE_FR])
    link: str = Field(
        description="Where the alert is read",
        examples=["https://vigie.example.com/v1/alerts/0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"],
    )
    description: str | None = Field(description="The rule's when it fired: what to do")
    site_id: UUID
    site_name: str | None = Field(description="The site's name now", examples=["Rue de Metz"])
    box: str | None = Field(description="Null where the rule is on the site as a whole")
    box_name: str | None = Field(
        description="The box's name now; null where it has none", examples=["North crossing"]
    )
    metric: str | None = Field(description="What the deciding part of the condition looks at, if it does")
    severity: Severity = Field(
        description="Of the highest level that fires; more where it was raised because nobody acknowledged it"
    )
    highest_severity: Severity = Field(description="The highest that it had since it fired")
    state: AlertState
    value: float | None = Field(
        description="What fired it, or the level that fires now: of the sample, of a function over a window, "
        "of an index, or an event's confidence"
    )
    unit: str | None = Field(
        description="Of `value`, `threshold` and `clear`: the metric's, its function's or the index's; `s` "
        "of a silence; null where they have none",
        examples=["µg/m³"],
    )
    current_value: float | None = Field(
        description="Of now, beside `value`: the newest measurement of `metric` at the box (of a function "
        "over a window too, a single measurement), or for how many seconds a silence has lasted. Null once "
        "resolved, of an event, of an index, of a site as a whole, and for a key without `telemetry:read`"
    )
    current_time: datetime | None = Field(description="When `current_value` was measured")
    threshold: float | None
    clear: float | None
    function: str | None = Field(description="Such as `mean`; null for a sample's own value")
    cause: dict[str, Any] | None = Field(
        description="The part of the condition that decided: its `path` in the rule, `function`, `window`, "
        "the `event`, the `boxes` that raise it where the rule is on the site as a whole, and the `index` "
        "with its `method`, `version`, `period`, `unit`, `coverage` and class",
        examples=[
            {
                "path": "levels/0/condition",
                "function": None,
                "window": None,
                "event": None,
                "boxes": [],
                "index": None,
            }
        ],
    )
    resolved_value: float | None = Field(description="Of the sample that resolved it; null where none did")
    pending_since: datetime = Field(description="Since when the condition was raised when it fired")
    started_at: datetime = Field(description="Time of the sample that fired it")
    resolved_at: datetime | None = Field(
        description="Time of the sample that resolved it, or when it was closed without one"
    )
    resolution: str | None = Field(
        description="`cleared` by a sample; else why it was closed: `out_of_hours`, `rule_changed`, "
        "`rule_disabled`, `rule_deleted`, `rule_gone`, `box_deleted`, `box_moved`, `superseded`"
    )
    acknowledged_at: datetime | None = Field(description="Ends when samples make the alert more severe")
    acknowledged_by: Acknowledger | None = Field(description="Who acknowledged it; null where nobody did")
    assignee: str | None = Field(description="Whose it is, if somebody said")
    dry_run: bool = Field(description="Its rule is on trial: nothing is told of it")
    notified: bool = Field(description="Endpoints were told of it: they will be told of its end")
    suppressed: Suppressed | None = Field(
        description="What mutes it, or did when it resolved; null where nothing does"
    )
    escalated_at: datetime | None = Field(
        description="When its severity was last raised because nobody acknowledged it"
    )
    escalate_at: datetime | None = Field(description="When that is due next, unless somebody does before")
    remind_at: datetime | None = Field(description="When `alert.reminder` is due next, likewise")
    sequence: int = Field(description="Counts up with each event of this alert; some may be muted")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Alert, derived: Mapping[str, Any]) -> Self:
        """Make the shape of a row, and of what was read and computed beside it."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in derived}
        return cls(**derived, **columns)


class TimelineOut(BaseModel):
    """Something that happened to an alert."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: TimelineKind
    at: datetime = Field(description="Time of the sample that did it, or when somebody or something else did")
    recorded_at: datetime
    severity: Severity | None = Field(description="After it")
    value: float | None
    cause: dict[str, Any] | None = Field(
        description="What decided, as in the alert, with the sample's `time`, `metric` and `value`, and the "
        "`threshold` and `clear` that it was compared with; null where no sample decided"
    )
    actor: str | None = Field(
        description="The name of the API key that was used, or of the person; null where nobody did it"
    )
    actor_key: UUID | None = Field(description="The id of that key or person")
    actor_kind: Literal["key", "user"] | None = Field(
        description="`key`: an API key; `user`: a person who signed in"
    )
    comment: str | None
    data: dict[str, Any] | None = Field(
        description="What else belongs to it: `reason` and `previous_severity` of `escalated` and "
        "`deescalated`, `reason` of `resolved` and `unacknowledged`, `assignee` and `previous`, `silences` "
        "and `inhibited_by`"
    )

    @classmethod
    def of(cls, row: TimelineEntry) -> Self:
        """The shape of a row."""
        return cls.model_validate(row)


EXAMPLE_COMMENT: Final = "Technician is on the way"
"""What stands for a comment in examples."""


def _said(value: str) -> str:
    if not value.strip():
        raise CodedValueError("invalid_text", "The text is blank")
    return value


Comment = Annotated[
    Description,
    AfterValidator(_said),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT, "pattern": TEXT_PATTERN}),
]
"""What a person says: 1 to 2,000 characters."""


class Remark(RequestBody):
    """A comment that goes with what is done."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": EXAMPLE_COMMENT}]})

    comment: Comment | None = None


class Assignment(RequestBody):
    """Whose an alert is to be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"assignee": "Équipe de nuit", "comment": EXAMPLE_COMMENT}]}
    )

    assignee: Name | None = Field(description="Null: nobody's")
    comment: Comment | None = None


class CommentCreate(RequestBody):
    """A comment to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": EXAMPLE_COMMENT}]})

    comment: Comment


class ManyToAcknowledge(RequestBody):
    """Alerts to take note of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ids": ["0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"], "comment": EXAMPLE_COMMENT}]
        }
    )

    ids: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_BULK_ALERTS)]
    comment: Comment | None = None


class Refused(BaseModel):
    """An alert that could not be acknowledged, and why."""

    id: UUID
    code: Literal["already_resolved", "not_found"]


class ManyAcknowledgedOut(BaseModel):
    """What became of many alerts."""

    acknowledged: list[UUID] = Field(description="Those that are acknowledged by this call")
    unchanged: list[UUID] = Field(description="Those that were before: a comment was added to each")
    refused: list[Refused]

    @classmethod
    def of(cls, new: Sequence[UUID], before: Sequence[UUID], refused: Sequence[tuple[UUID, str]]) -> Self:
        """The shape of what was done."""
        rest = [Refused.model_validate({"id": identifier, "code": code}) for identifier, code in refused]
        return cls(acknowledged=list(new), unchanged=list(before), refused=rest)
