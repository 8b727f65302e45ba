"""Defines the JSON of bulk operations on alerts: the alerts, the operation, and the result of each alert."""

from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.alerts.muting_schemas import LocalTime, SilenceDuration
from app.alerts.schemas import EXAMPLE_COMMENT, Comment
from app.platform.http.contract.fields import Identifier, Instant, Name, RequestBody, Timezone
from app.platform.http.contract.problems import CodedValueError
from app.rules.definitions.severity import Severity

MAX_OPERATION_ALERTS: Final = 100
"""The most alerts of one operation."""

_ALERT: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
_SILENCE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e14"


class AcknowledgeAlerts(RequestBody):
    """Acknowledge each alert. An alert that is acknowledged already only gets the comment."""

    type: Literal["acknowledge"]
    comment: Comment | None = None


class UnacknowledgeAlerts(RequestBody):
    """Withdraw the acknowledgement of each alert."""

    type: Literal["unacknowledge"]
    comment: Comment | None = None


class AssignAlerts(RequestBody):
    """Assign each alert."""

    type: Literal["assign"]
    assignee: Name | None = Field(description="The person or team; null removes the assignment")
    comment: Comment | None = None


class EscalateAlerts(RequestBody):
    """Raise the severity of each alert. One that has this severity already, or a higher one, is refused."""

    type: Literal["escalate"]
    severity: Severity
    comment: Comment | None = None


class CommentAlerts(RequestBody):
    """Add a comment to each alert."""

    type: Literal["comment"]
    comment: Comment


class SilenceAlerts(RequestBody):
    """Create a silence for the rule and the box of each alert. It also mutes their later alerts."""

    type: Literal["silence"]
    ends_at: Instant | None = Field(None, description="End. Required without `duration` and `until`")
    duration: SilenceDuration | None = Field(
        None, description="Instead of `ends_at`: the duration from now on", examples=["PT2H"]
    )
    until: LocalTime | None = Field(None, description="Instead of `ends_at`: a local time")
    timezone: Timezone | None = Field(
        None, description="Time zone of `until`; by default that of the site of each alert"
    )
    comment: Annotated[Comment, Field(description="Why the alerts are muted")]

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        ends = {"ends_at": self.ends_at, "duration": self.duration, "until": self.until}
        named = [f"`{name}`" for name, value in ends.items() if value is not None]
        if not named:
            raise CodedValueError(
                "end_required", "The silences need an end. Add `ends_at`, `duration` or `until`"
            )
        if len(named) > 1:
            raise CodedValueError(
                "ends_differently", f"The silences have several ends: {' and '.join(named)}. Give one of them"
            )
        return self


AlertOperation = Annotated[
    AcknowledgeAlerts | UnacknowledgeAlerts | AssignAlerts | EscalateAlerts | CommentAlerts | SilenceAlerts,
    Field(discriminator="type"),
]


class AlertsOperation(RequestBody):
    """An operation on some alerts."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ids": [_ALERT], "operation": {"type": "acknowledge", "comment": EXAMPLE_COMMENT}},
                {"ids": [_ALERT], "operation": {"type": "assign", "assignee": "Équipe de nuit"}},
                {"ids": [_ALERT], "operation": {"type": "escalate", "severity": "warning"}},
                {
                    "ids": [_ALERT],
                    "operation": {"type": "silence", "duration": "PT2H", "comment": "Roadworks"},
                },
            ]
        }
    )

    ids: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_OPERATION_ALERTS)]
    operation: AlertOperation


class AlertResult(BaseModel):
    """The result of one alert."""

    id: UUID
    result: Literal["changed", "unchanged", "error"] = Field(
        description="`unchanged`: the alert was acknowledged, unacknowledged or assigned like this before. A "
        "comment was added nevertheless"
    )
    code: str | None = Field(None, description="Of an error, stable", examples=["already_resolved"])
    detail: str | None = Field(None, description="Of an error, for people")
    silence_id: UUID | None = Field(
        None, description="The silence that mutes the alert. Alerts of the same rule and box share one"
    )


_CHANGED: Final[dict[str, Any]] = {
    "operation": "silence",
    "selected": 2,
    "changed": 1,
    "unchanged": 0,
    "failed": 1,
    "results": [
        {"id": _ALERT, "result": "changed", "code": None, "detail": None, "silence_id": _SILENCE},
        {
            "id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e12",
            "result": "error",
            "code": "not_found",
            "detail": "There is no alert '0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e12'.",
            "silence_id": None,
        },
    ],
}


class AlertsChanged(BaseModel):
    """The result of each alert, and the numbers of results."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHANGED]})

    operation: str
    selected: int = Field(description="Number of alerts in `ids`, without duplicates")
    changed: int
    unchanged: int
    failed: int = Field(description="Number of results `error`; they do not affect the other alerts")
    results: list[AlertResult] = Field(description="In the order of `ids`")

    @classmethod
    def of(cls, operation: AlertOperation, results: list[AlertResult]) -> Self:
        """Count the results."""
        kinds = [each.result for each in results]
        return cls(
            operation=operation.type,
            selected=len(results),
            changed=kinds.count("changed"),
            unchanged=kinds.count("unchanged"),
            failed=kinds.count("error"),
            results=results,
        )
