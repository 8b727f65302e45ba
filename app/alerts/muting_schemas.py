"""Defines the JSON of silences and inhibitions; `muting_queries` applies them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from app.alerts.models import Inhibition, Silence
from app.alerts.schemas import Comment
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
from app.platform.http.contract.missing_fields import MissingField, validate_with_missing
from app.platform.http.contract.problems import CodedValueError
from app.platform.http.contract.weekly_hour_fields import HoursSpan, HoursSpans
from app.registry.labels import Tag
from app.rules.definitions.condition_fields import MetricName, make_duration_check
from app.rules.definitions.severity import Severity

MAX_MATCHER_ENTRIES: Final = 200
"""How many entries a list of a matcher takes."""

type SilenceState = Literal["pending", "active", "expired"]
EqualField = Literal["site", "box", "metric"]
_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"


def _list(description: str) -> Any:  # noqa: ANN401 (it stands in for a value of the field's own type)
    return Field(default=None, min_length=1, max_length=MAX_MATCHER_ENTRIES, description=description)


class Matchers(RequestBody):
    """Which alerts are meant: those that fit each list that is given, by one of its entries."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"site_ids": [_SITE], "severities": ["info", "warning"]}],
            "minProperties": 1,
        }
    )

    site_ids: list[Identifier] | None = _list("Of one of these sites")
    boxes: list[BoxId] | None = _list("Of one of these boxes")
    rule_ids: list[Identifier] | None = _list("Of one of these rules")
    metrics: list[MetricName] | None = _list("Of one of these metrics")
    severities: list[Severity] | None = _list("Of one of these severities")
    tags: list[Tag] | None = _list("Of a box with one of these tags")

    def stored(self) -> dict[str, Any]:
        """The matchers as they are stored: the lists that were given, each entry once."""
        found = self.model_dump(exclude_none=True)
        return {name: list(dict.fromkeys(map(str, values))) for name, values in found.items()}


def _some(value: Matchers) -> Matchers:
    if not value.stored():
        raise CodedValueError("empty_matchers", "Give at least one list: else every alert would be meant")
    return value


NonEmptyMatchers = Annotated[Matchers, AfterValidator(_some)]


SilenceDuration = Annotated[str, AfterValidator(make_duration_check("PT1M", "P366D")), DURATION]
"""How long a silence is: ISO 8601."""


class LocalTime(RequestBody):
    """A time by the clocks on the wall of the sites that are meant."""

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
            description="Counted from the day on which it begins: 0 is that day, 1 the next one. Left out: "
            "the next time that clocks show it",
        ),
    ] = None


class SilenceCreate(RequestBody):
    """A silence to be."""

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
        None, description="Which alerts. Left out: there is an `alert_id`"
    )
    alert_id: Identifier | None = Field(
        None, description="In place of `matchers`: alerts of this one's rule on this one's box"
    )
    starts_at: Instant | None = Field(None, description="From when on. Left out: now")
    ends_at: Instant | None = Field(
        None, description="Until when. Left out: there is a `duration`, an `until` or a `schedule`"
    )
    duration: SilenceDuration | None = Field(
        None, description="In place of `ends_at`: how long from `starts_at` on", examples=["PT2H"]
    )
    until: LocalTime | None = Field(None, description="In place of `ends_at`: a local time")
    schedule: HoursSpans | None = Field(
        None, description="A maintenance window: between start and end it mutes in these hours alone"
    )
    timezone: Timezone | None = Field(
        None,
        description="Of the schedule and of `until`. Left out: that of the sites that are meant, where they "
        "share one",
    )
    author: Name | None = Field(None, description="Left out: the API key's name")
    comment: Annotated[Comment, Field(description="Why")]

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return validate_with_missing(given, handler, list(_lacking(given)))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.matchers is not None and self.alert_id is not None:
            raise CodedValueError("matchers_or_alert", "Give `matchers`, or `alert_id`: one of the two")
        ends = {"ends_at": self.ends_at, "duration": self.duration, "until": self.until}
        _check_ends([name for name, value in ends.items() if value is not None])
        if self.timezone is not None and self.schedule is None and self.until is None:
            raise CodedValueError(
                "invalid_value", "`timezone` is that of a `schedule` or of `until`, and there is neither"
            )
        return self


def _lacking(given: object) -> Iterator[MissingField]:
    """What a new silence needs, and does not have."""
    if not isinstance(given, Mapping):
        return
    if all(given.get(name) is None for name in ("matchers", "alert_id")):
        what = CodedValueError("missing_field", "Say which alerts: give `matchers`, or an `alert_id`")
        yield MissingField("matchers", what)
    if all(given.get(name) is None for name in ("ends_at", "duration", "until", "schedule")):
        end = CodedValueError(
            "end_required", "Say when it ends: give `ends_at`, a `duration` or `until`, or a `schedule`"
        )
        yield MissingField("ends_at", end)


def _check_ends(named: Sequence[str]) -> None:
    if len(named) > 1:
        listed = " and ".join(f"`{name}`" for name in named)
        raise CodedValueError("ends_differently", f"It has {listed}: give one of them")


class SilenceChange(RequestBody):
    """What may change of a silence. Matchers are replaced as a whole."""

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
            description="In place of `ends_at`: how long from now on, or from `starts_at` if that is to come",
            examples=["PT2H"],
        ),
    ] = None
    until: Annotated[LocalTime | None, Field(description="In place of `ends_at`: a local time")] = None
    comment: Comment = make_omittable_field()

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        given = {"duration": self.duration, "until": self.until}
        named = [name for name, value in given.items() if value is not None]
        named += ["ends_at"] if "ends_at" in self.model_fields_set else []
        _check_ends(named)
        return self


class SilenceOut(ResourceModel):
    """For a time, or in the hours of a schedule, alerts that match are not told."""

    volatile = frozenset({"state", "next_start"})

    id: UUID
    organisation_id: UUID
    matchers: Matchers
    starts_at: datetime
    ends_at: datetime | None
    schedule: list[HoursSpan] | None
    timezone: str | None
    state: SilenceState = Field(
        description="`active`: it mutes now; `pending`: later, also between the hours of its schedule; "
        "`expired`: never again"
    )
    next_start: datetime | None = Field(
        description="When a pending one begins to mute, of a schedule with its next hours; null where it "
        "does already, or never will"
    )
    author: str
    comment: str
    created_by: UUID | None = Field(description="The API key that made it")
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
        """The shape of a row, with its state and its next start by the database's clock."""
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
    """A silence that was just made."""

    once = frozenset({"matching_alerts"})

    matching_alerts: int = Field(
        description="How many firing alerts its matchers fit now, begun or not: none may be a slip of the pen"
    )


class InhibitionCreate(RequestBody):
    """An inhibition to be."""

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
    source: Annotated[NonEmptyMatchers, Field(description="While one of these alerts fires …")]
    target: Annotated[NonEmptyMatchers, Field(description="… these are not told")]
    equal: Annotated[
        list[EqualField],
        Field(
            max_length=3,
            description="What both have in common; of what neither has, that is so too. Empty: nothing, and "
            "one source mutes all targets of the organisation",
        ),
        AfterValidator(lambda names: list(dict.fromkeys(names))),
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _said(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping) or "equal" in given:
            return handler(given)
        error = CodedValueError(
            "missing_field",
            "`equal` is missing: say what source and target have in common (`site`, `box`, `metric`); an "
            "empty list has one source mute all targets of the organisation",
        )
        # A stand-in: else the fault would be named twice.
        return validate_with_missing({**given, "equal": []}, handler, [MissingField("equal", error)])


class InhibitionChange(RequestBody):
    """What may change of an inhibition. Matchers are replaced as a whole."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"equal": ["site", "metric"]}]})

    name: Name = make_omittable_field()
    source: NonEmptyMatchers = make_omittable_field()
    target: NonEmptyMatchers = make_omittable_field()
    equal: Annotated[
        list[EqualField], Field(max_length=3), AfterValidator(lambda names: list(dict.fromkeys(names)))
    ] = make_omittable_field()


class InhibitionOut(ResourceModel):
    """While an alert fires that matches `source`, those that match `target` are not told."""

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
        """The shape of a row."""
        columns = {name: getattr(row, name) for name in cls.model_fields if name not in {"source", "target"}}
        return cls(
            source=Matchers.model_validate(row.source, strict=False),
            target=Matchers.model_validate(row.target, strict=False),
            **columns,
        )
