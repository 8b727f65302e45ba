"""Defines the JSON of silences and inhibitions; `muting_queries` finds the alerts that these mute."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from app.alerts.models import Inhibition, Silence
from app.alerts.schemas import Comment
from app.platform.http.contract.conditionally_required_fields import MissingField, validate_with_missing
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import (
    DURATION,
    BoxId,
    Identifier,
    Instant,
    Name,
    RequestBody,
    TenantId,
    Timezone,
    make_omittable_field,
)
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.weekly_hour_fields import HoursSpan, HoursSpans
from app.registry.labels import Tag
from app.rules.definitions.condition_fields import MetricName, make_duration_check
from app.rules.definitions.severity import Severity

MAX_MATCHER_ENTRIES: Final = 200
"""The most entries in a list of a matcher."""

type SilenceState = Literal["pending", "active", "expired"]
EqualField = Literal["site", "box", "metric"]
_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"


def _list(description: str) -> Any:  # noqa: ANN401 (it stands in for a value of the field's own type)
    return Field(default=None, min_length=1, max_length=MAX_MATCHER_ENTRIES, description=description)


class Matchers(RequestBody):
    """Selects alerts: those that match one entry of each given list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"site_ids": [_SITE], "severities": ["info", "warning"]}],
            "minProperties": 1,
        }
    )

    site_ids: list[Identifier] | None = _list("Alerts of one of these sites")
    boxes: list[BoxId] | None = _list("Alerts of one of these boxes")
    rule_ids: list[Identifier] | None = _list("Alerts of one of these rules")
    metrics: list[MetricName] | None = _list("Alerts on one of these metrics")
    severities: list[Severity] | None = _list("Alerts of one of these severities")
    tags: list[Tag] | None = _list("Alerts of a box with one of these tags")

    def stored(self) -> dict[str, Any]:
        """Return the stored form of the matchers: the given lists, without duplicates."""
        found = self.model_dump(exclude_none=True)
        return {name: list(dict.fromkeys(map(str, values))) for name, values in found.items()}


def _check_not_empty(value: Matchers) -> Matchers:
    if not value.stored():
        raise CodedValueError("empty_matchers", "Give at least one list: empty matchers match every alert")
    return value


NonEmptyMatchers = Annotated[Matchers, AfterValidator(_check_not_empty)]


SilenceDuration = Annotated[str, AfterValidator(make_duration_check("PT1M", "P366D")), DURATION]
"""The duration of a silence: ISO 8601."""


class LocalTime(RequestBody):
    """A local time at the sites of the matched alerts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"days": 1, "time": "08:00"}]})

    time: Annotated[
        str,
        Field(
            pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="Hours and minutes", examples=["08:00"]
        ),
    ]
    days: Annotated[
        int | None,
        Field(
            ge=0,
            le=366,
            description="Days after the day on which the silence begins: 0 is that day, 1 the next one. By "
            "default the next occurrence of `time`",
        ),
    ] = None


class SilenceCreate(RequestBody):
    """A new silence."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "matchers": {"site_ids": [_SITE], "severities": ["info", "warning"]},
                    "ends_at": "2030-11-24T18:00:00Z",
                    "comment": "Roadworks until this evening",
                },
                {
                    "alert_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
                    "until": {"days": 1, "time": "08:00"},
                    "comment": "The crew comes in the morning",
                },
                {
                    "matchers": {"boxes": ["pont-neuf-1"]},
                    "schedule": [{"days": ["sun"], "from": "02:00", "to": "04:00"}],
                    "timezone": "Europe/Paris",
                    "comment": "Weekly maintenance",
                },
            ]
        }
    )

    organisation_id: TenantId = None
    matchers: NonEmptyMatchers | None = Field(
        None, description="Which alerts to mute. Required without `alert_id`"
    )
    alert_id: Identifier | None = Field(
        None, description="Instead of `matchers`: mutes alerts of the same rule and box as this alert"
    )
    starts_at: Instant | None = Field(None, description="Start; by default now")
    ends_at: Instant | None = Field(
        None, description="End. Required without `duration`, `until` and `schedule`"
    )
    duration: SilenceDuration | None = Field(
        None, description="Instead of `ends_at`: the duration from `starts_at`", examples=["PT2H"]
    )
    until: LocalTime | None = Field(None, description="Instead of `ends_at`: a local time")
    schedule: HoursSpans | None = Field(
        None, description="A maintenance window: between start and end it mutes only in these hours"
    )
    timezone: Timezone | None = Field(
        None,
        description="Time zone of `schedule` and `until`; by default that of the sites, if they share one",
    )
    author: Name | None = Field(None, description="By default the name of the API key")
    comment: Annotated[Comment, Field(description="Why the alerts are muted")]

    @model_validator(mode="wrap")
    @classmethod
    def _check_required(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_with_missing(given, handler, list(_find_missing(given)))

    @model_validator(mode="after")
    def _check_exclusive(self) -> Self:
        if self.matchers is not None and self.alert_id is not None:
            raise CodedValueError("matchers_or_alert", "Give either `matchers` or `alert_id`, not both")
        ends = {"ends_at": self.ends_at, "duration": self.duration, "until": self.until}
        _check_ends([name for name, value in ends.items() if value is not None])
        if self.timezone is not None and self.schedule is None and self.until is None:
            raise CodedValueError(
                "invalid_value",
                "`timezone` applies to `schedule` and `until` only. Add one of them, or omit it",
            )
        return self


def _find_missing(given: object) -> Iterator[MissingField]:
    """Find the required fields that a new silence lacks."""
    if not isinstance(given, Mapping):
        return
    if all(given.get(name) is None for name in ("matchers", "alert_id")):
        error = CodedValueError("missing_field", "The silence needs alerts. Add `matchers` or `alert_id`")
        yield MissingField("matchers", error)
    if all(given.get(name) is None for name in ("ends_at", "duration", "until", "schedule")):
        error = CodedValueError(
            "end_required", "The silence needs an end. Add `ends_at`, `duration`, `until` or a `schedule`"
        )
        yield MissingField("ends_at", error)


def _check_ends(named: Sequence[str]) -> None:
    if len(named) > 1:
        listed = " and ".join(f"`{name}`" for name in named)
        raise CodedValueError("ends_differently", f"The silence has several ends: {listed}. Give one of them")


class SilenceChange(RequestBody):
    """Changes of a silence. Matchers are replaced as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ends_at": "2030-11-24T20:00:00Z", "comment": "The works take longer"}]
        }
    )

    matchers: NonEmptyMatchers = make_omittable_field()
    ends_at: Instant = make_omittable_field()
    duration: Annotated[
        SilenceDuration | None,
        Field(
            description="Instead of `ends_at`: the duration from now, or from `starts_at` if that is later",
            examples=["PT2H"],
        ),
    ] = None
    until: Annotated[LocalTime | None, Field(description="Instead of `ends_at`: a local time")] = None
    comment: Comment = make_omittable_field()

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        given = {"duration": self.duration, "until": self.until}
        named = [name for name, value in given.items() if value is not None]
        named += ["ends_at"] if "ends_at" in self.model_fields_set else []
        _check_ends(named)
        return self


class SilenceOut(ResourceModel):
    """Mutes matching alerts for a time, or in the hours of a schedule."""

    volatile = frozenset({"state", "next_start"})

    id: UUID
    organisation_id: UUID
    matchers: Matchers
    starts_at: datetime
    ends_at: datetime | None
    schedule: list[HoursSpan] | None
    timezone: str | None
    state: SilenceState = Field(
        description="`active`: it mutes now; `pending`: it will mute later, also between the hours of its "
        "schedule; `expired`: it will not mute any more"
    )
    next_start: datetime | None = Field(
        description="When a pending silence begins to mute, by its start or its schedule; null if it is "
        "active or will not mute any more"
    )
    author: str
    comment: str
    created_by: UUID | None = Field(description="The API key that created it")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(
        cls,
        row: Silence,
        state: SilenceState,
        next_start: datetime | None,
        **more: int,
    ) -> Self:
        """Make the JSON of a row.

        Args:
            row: the row.
            state: the current state, by the database's clock.
            next_start: the next start, by the database's clock.
            more: further fields of a subclass.
        """
        spans = None if row.schedule is None else [HoursSpan.model_validate(each) for each in row.schedule]
        given = {"matchers", "schedule", "state", "next_start", *more}
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in given}
        return cls(
            matchers=Matchers.model_validate(row.matchers, strict=False),
            schedule=spans,
            state=state,
            next_start=next_start,
            **columns,
            **more,
        )


class SilenceMade(SilenceOut):
    """A new silence, with the number of alerts that it matches."""

    once = frozenset({"matching_alerts"})

    matching_alerts: int = Field(
        description="Number of firing alerts that match now, even before its start. If it is 0, check the "
        "matchers"
    )


class InhibitionCreate(RequestBody):
    """A new inhibition."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Critical mutes the rest of its box",
                    "source": {"severities": ["critical"]},
                    "target": {"severities": ["info", "warning"]},
                    "equal": ["box"],
                }
            ]
        }
    )

    organisation_id: TenantId = None
    name: Name
    source: Annotated[NonEmptyMatchers, Field(description="The alerts that mute others while they fire")]
    target: Annotated[NonEmptyMatchers, Field(description="The alerts that are muted")]
    equal: Annotated[
        list[EqualField],
        Field(
            max_length=3,
            description="The fields that source and target must share. A field that both lack counts as "
            "equal. With an empty list, one source mutes all targets of the organisation",
        ),
        AfterValidator(lambda names: list(dict.fromkeys(names))),
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _require_equal(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping) or "equal" in given:
            return handler(given)
        error = CodedValueError(
            "missing_field",
            "`equal` is missing. Give the fields that source and target must share (`site`, `box`, "
            "`metric`). With an empty list, one source mutes all targets of the organisation",
        )
        # With a placeholder for `equal`: else the error would be reported twice.
        return validate_with_missing({**given, "equal": []}, handler, [MissingField("equal", error)])


class InhibitionChange(RequestBody):
    """Changes of an inhibition. Matchers are replaced as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"equal": ["site", "metric"]}]})

    name: Name = make_omittable_field()
    source: NonEmptyMatchers = make_omittable_field()
    target: NonEmptyMatchers = make_omittable_field()
    equal: Annotated[
        list[EqualField], Field(max_length=3), AfterValidator(lambda names: list(dict.fromkeys(names)))
    ] = make_omittable_field()


class InhibitionOut(ResourceModel):
    """Mutes alerts that match `target` while an alert fires that matches `source`."""

    id: UUID
    organisation_id: UUID
    name: str
    source: Matchers
    target: Matchers
    equal: list[EqualField]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Inhibition) -> Self:
        """Make the JSON of a row."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in {"source", "target"}}
        return cls(
            source=Matchers.model_validate(row.source, strict=False),
            target=Matchers.model_validate(row.target, strict=False),
            **columns,
        )
