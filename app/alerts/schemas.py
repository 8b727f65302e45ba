"""Defines the JSON of alerts, timelines, explanations, acknowledgements, assignments and comments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from app.alerts.models import Alert, TimelineEntry
from app.alerts.timeline_writer import TimelineKind
from app.notifications.api.delivery_schemas import DeliveryOut
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
"""The sentences in examples."""

type AlertState = Literal["firing", "resolved"]
MAX_BULK_ALERTS: Final = 200
"""The most alerts in one request."""


class Suppressed(BaseModel):
    """The silences and alerts that mute an alert."""

    silences: list[UUID] = Field(description="Silences that match it")
    inhibited_by: list[UUID] = Field(description="Alerts that inhibit it; if there are many, the oldest ones")


class AlertOut(ResourceModel):
    """One rule firing on a box, or on its site, until it is resolved. Times of samples are the boxes' own."""

    volatile = frozenset({"current_value", "current_time", "incident_id"})

    id: UUID
    organisation_id: UUID
    rule_id: UUID
    rule_name: str = Field(description="Current name of the rule")
    rule_version: int = Field(description="Version of the rule when it fired")
    sentence: str = Field(description="Current state of the alert in a sentence", examples=[EXAMPLE_SENTENCE])
    sentence_fr: str = Field(description="The sentence in French", examples=[EXAMPLE_SENTENCE_FR])
    link: str = Field(
        description="Link to the alert",
        examples=["https://vigie.example.com/console/alerts/0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"],
    )
    description: str | None = Field(description="Description of the rule when it fired: what to do")
    site_id: UUID
    site_name: str | None = Field(description="Current name of the site", examples=["Rue de Metz"])
    box: str | None = Field(description="The box; null for a rule on a whole site")
    box_name: str | None = Field(
        description="Current name of the box; null if it has none", examples=["North crossing"]
    )
    metric: str | None = Field(
        description="Metric of the deciding part of the condition; null if it has none"
    )
    severity: Severity = Field(
        description="Severity of the highest firing level, or a higher one after an escalation for lack of "
        "acknowledgement or by a person"
    )
    highest_severity: Severity = Field(description="Highest severity since it fired")
    state: AlertState
    value: float | None = Field(
        description="The value that fired it, or its current level: a sample, a function over a window, an "
        "index, or the confidence of an event"
    )
    unit: str | None = Field(
        description="Unit of `value`, `threshold` and `clear`: of the metric, its function or the index; "
        "`s` for a silent box; null if they have none",
        examples=["µg/m³"],
    )
    current_value: float | None = Field(
        description="The newest measurement of `metric` at the box (a single measurement, also for functions "
        "over a window), or the seconds for which a box has been silent. Null for resolved alerts, for rules "
        "on events, indices or whole sites, and for a key without `telemetry:read`"
    )
    current_time: datetime | None = Field(description="When `current_value` was measured")
    incident_id: UUID | None = Field(
        description="The incident that the sound event of `cause` belongs to: several boxes may raise alerts "
        "for one sound. It follows some seconds after the alert. Null if there is none, and for a caller "
        "without `incidents:read`"
    )
    threshold: float | None
    clear: float | None
    function: str | None = Field(
        description="Function of the condition, such as `mean`; null for plain values"
    )
    cause: dict[str, Any] | None = Field(
        description="The deciding part of the condition: its `path` in the rule, `function`, `window`, the "
        "`event`, the `boxes` that raise it for a rule on a whole site, and the `index` with its `method`, "
        "`version`, `period`, `unit`, `coverage` and class",
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
    resolved_value: float | None = Field(
        description="Value of the sample that resolved it; null without a sample"
    )
    pending_since: datetime = Field(description="Since when the condition held when it fired")
    started_at: datetime = Field(description="Time of the sample that fired it")
    resolved_at: datetime | None = Field(
        description="Time of the sample that resolved it, or when it was closed without a sample"
    )
    resolution: str | None = Field(
        description="`cleared` by a sample, or the reason of its closure: `out_of_hours`, `rule_changed`, "
        "`rule_disabled`, `rule_deleted`, `rule_gone`, `box_deleted`, `box_moved`, `superseded`"
    )
    acknowledged_at: datetime | None = Field(
        description="When it was acknowledged; reset when samples raise the severity"
    )
    acknowledged_by: Acknowledger | None = Field(description="Who acknowledged it; null if it is not")
    assignee: str | None = Field(description="The person or team that it is assigned to")
    dry_run: bool = Field(description="Its rule is a dry run: it sends no notifications")
    notified: bool = Field(description="Endpoints were notified, and will be notified of its resolution")
    suppressed: Suppressed | None = Field(
        description="What mutes it, or muted it when it resolved; null if nothing does"
    )
    escalated_at: datetime | None = Field(
        description="When its severity was last raised for lack of acknowledgement, or by a person"
    )
    escalate_at: datetime | None = Field(
        description="When the next escalation is due, unless it is acknowledged before"
    )
    remind_at: datetime | None = Field(
        description="When the next `alert.reminder` is due, unless it is acknowledged before"
    )
    sequence: int = Field(description="Increases with each event of this alert; some events may be muted")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Alert, derived: Mapping[str, Any]) -> Self:
        """Make the JSON of a row and its derived fields."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in derived}
        return cls(**derived, **columns)


class TimelineOut(BaseModel):
    """An entry in the timeline of an alert."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: TimelineKind
    at: datetime = Field(description="Time of the sample that caused it, or of the action or timer")
    recorded_at: datetime
    severity: Severity | None = Field(description="Severity after it")
    value: float | None
    cause: dict[str, Any] | None = Field(
        description="The deciding part of the condition, as in the alert, with the sample's `time`, `metric` "
        "and `value`, and the `threshold` and `clear` that it was compared with; null without a sample"
    )
    actor: str | None = Field(description="Name of the API key or the person; null for samples and timers")
    actor_key: UUID | None = Field(description="Id of that API key or person")
    actor_kind: Literal["key", "user"] | None = Field(
        description="`key`: an API key; `user`: a person who signed in"
    )
    comment: str | None
    data: dict[str, Any] | None = Field(
        description="Further fields by `kind`: `reason` and `previous_severity` for `escalated` and "
        "`deescalated`, `reason` for `resolved` and `unacknowledged`, `assignee` and `previous` for "
        "`assigned`, `silences` and `inhibited_by` for `suppressed` and `unsuppressed`"
    )

    @classmethod
    def of(cls, row: TimelineEntry) -> Self:
        """Make the JSON of a row."""
        return cls.model_validate(row)


EXAMPLE_COMMENT: Final = "Technician is on the way"
"""The comment in examples."""


def _check_not_blank(value: str) -> str:
    if not value.strip():
        raise CodedValueError("invalid_text", "The text is blank")
    return value


Comment = Annotated[
    Description,
    AfterValidator(_check_not_blank),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT, "pattern": TEXT_PATTERN}),
]
"""A comment of a person: 1 to 2,000 characters."""


class Remark(RequestBody):
    """An optional comment on an action."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": EXAMPLE_COMMENT}]})

    comment: Comment | None = None


class Assignment(RequestBody):
    """The assignment of an alert."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"assignee": "Équipe de nuit", "comment": EXAMPLE_COMMENT}]}
    )

    assignee: Name | None = Field(description="The person or team; null removes the assignment")
    comment: Comment | None = None


class AlertEscalation(RequestBody):
    """The escalation of an alert."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"severity": "critical", "comment": "A school is next to it"}]}
    )

    severity: Severity = Field(description="The new severity, higher than the present one")
    comment: Comment | None = None


class CommentCreate(RequestBody):
    """A new comment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment": EXAMPLE_COMMENT}]})

    comment: Comment


class ManyToAcknowledge(RequestBody):
    """The alerts to acknowledge."""

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
    code: Literal["already_resolved", "not_found"] = Field(description="The stable code of the reason")


class ManyAcknowledgedOut(BaseModel):
    """The outcome for each of many alerts."""

    acknowledged: list[UUID] = Field(description="Alerts that this request acknowledged")
    unchanged: list[UUID] = Field(
        description="Alerts that were acknowledged before; the comment was added to each"
    )
    refused: list[Refused]

    @classmethod
    def of(cls, new: Sequence[UUID], before: Sequence[UUID], refused: Sequence[tuple[UUID, str]]) -> Self:
        """Make the JSON of the outcomes."""
        rest = [Refused.model_validate({"id": identifier, "code": code}) for identifier, code in refused]
        return cls(acknowledged=list(new), unchanged=list(before), refused=rest)


LISTED_POINTS: Final = 1000
LISTED_ENTRIES: Final = 200
LISTED_DELIVERIES: Final = 100
"""The most measurements, timeline entries and deliveries in an explanation."""


class RuleExplained(BaseModel):
    """The rule as it was when the alert fired."""

    id: UUID
    name: str = Field(description="The rule's name then", examples=["Fine particles"])
    version: int = Field(examples=[1])
    sentence: str = Field(
        description="The rule's condition in words",
        examples=["Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³."],
    )
    sentence_fr: str = Field(
        description="The same in French",
        examples=["Avertissement : PM2,5 au-dessus de 25 µg/m³ pendant 10 minutes."],
    )
    condition: dict[str, Any] | None = Field(
        description="The deciding part of the condition, as in the rule: that at `cause.path` of the alert. "
        "Null if that version of the rule is not stored",
        examples=[{"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}],
    )


class PointAround(BaseModel):
    """A measurement."""

    time: datetime
    value: float = Field(examples=[31.2])


class SamplesAround(BaseModel):
    """Measurements from before the condition began to hold until now, or until the resolution."""

    box: str = Field(
        description="The box of the alert; for a rule on a whole site, the first box that raised it",
        examples=["box-0001"],
    )
    metric: str = Field(examples=["pm2_5"])
    unit: str = Field(examples=["µg/m³"])
    from_: datetime = Field(alias="from", description="Start, included")
    to: datetime = Field(description="End, excluded")
    points: list[PointAround] = Field(description=f"The first {LISTED_POINTS} measurements, ascending")
    truncated: bool = Field(
        description="There are more measurements. Read them with `GET /v1/boxes/{box}/readings`",
        examples=[False],
    )


class ExplanationOut(BaseModel):
    """Why an alert fires, or fired: its rule in words, measurements, timeline and deliveries."""

    alert: AlertOut
    rule: RuleExplained
    samples: SamplesAround | None = Field(
        description="Null if the deciding part of the condition has no metric, if the box was deleted, and "
        "for a caller without `telemetry:read`"
    )
    timeline: list[TimelineOut] = Field(
        description=f"The oldest {LISTED_ENTRIES} entries; all are at `GET /v1/alerts/{{alert_id}}/timeline`"
    )
    deliveries: list[DeliveryOut] | None = Field(
        description=f"The newest {LISTED_DELIVERIES} deliveries of its events, also in groups. "
        "Null for a caller without `webhooks:read`, or a caller limited to some sites"
    )
