"""Defines the JSON of incidents, their reviews and their statistics."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.notifications.events.incident_event_schemas import (
    ClassShare,
    Evidence,
    IncidentAlternative,
    IncidentEllipse,
    IncidentState,
    ModelShare,
)
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, RequestBody
from app.sound_incidents.event_clustering import Verdict
from app.sound_incidents.incident_outbox_events import build_geometry
from app.sound_incidents.models import Incident, IncidentEntry, IncidentEvent

_DERIVED: Final = frozenset({"geometry", "difference_sigma_m"})
_NOTE: Final = "Two patrols heard it; cartridges were found"


class IncidentTemperature(BaseModel):
    """The air temperature that was used for the speed of sound."""

    celsius: float = Field(description="In °C", examples=[8.4])
    sigma_celsius: float = Field(description="Its standard error (°C)", examples=[2.0])
    source: Literal["measured", "default"] = Field(
        description="`measured`: the median of the site's boxes in the hour before; `default`: a setting"
    )
    boxes: int = Field(description="Number of boxes that measured it")


class IncidentMethod(BaseModel):
    """A method that was used to compute the incident."""

    name: str = Field(examples=["tdoa_robust_least_squares"])
    version: int = Field(examples=[1])
    citation: str = Field(description="The source of the method")
    parameters: dict[str, float] = Field(description="The parameters of the computation")


class IncidentOut(ResourceModel):
    """Sounds from one position in quick succession, recorded by boxes of a site."""

    volatile: ClassVar[frozenset[str]] = frozenset({"settled_at", "events", "history"})

    id: UUID
    organisation_id: UUID
    site_id: UUID
    state: IncidentState = Field(description="`open` until a person reviews it")
    sequence: int = Field(description="Version number; it increases with each event of the incident")
    evidence: Evidence = Field(
        description="`position`: located by three or more boxes; `branch`: two boxes give a curve; "
        "`unlocated`: one box, or no box with a known position"
    )
    verified: bool = Field(description="Whether more boxes agree on the position than any three would")
    occurred_at: datetime = Field(
        description="When the sound began; without a position, the time of the first event"
    )
    occurred_sigma_ms: float | None = Field(description="Standard error of `occurred_at`, in milliseconds")
    first_heard_at: datetime
    last_heard_at: datetime
    geometry: dict[str, Any] | None = Field(
        description="GeoJSON: a Point for a position, a LineString for a branch",
        examples=[{"type": "Point", "coordinates": [1.4449871, 43.6047213]}],
    )
    ellipse: IncidentEllipse | None = Field(description="Confidence ellipse around the position")
    difference_sigma_m: float | None = Field(
        description="For a branch: standard error of the difference of the distances to its two boxes (m)"
    )
    alternative: IncidentAlternative | None = Field(description="Another position that is nearly as likely")
    classes: list[ClassShare] = Field(description="Possible sources, the likeliest first")
    models: list[ModelShare] = Field(description="Possible models of the likeliest class with models")
    probability: float = Field(description="Probability of a gunshot or an explosion")
    gunshot_probability: float = Field(description="Probability of a gunshot")
    rounds: int = Field(description="Number of shots, or other sounds, of the source")
    boxes: list[str] = Field(description="Boxes that recorded it")
    temperature: IncidentTemperature
    method: list[IncidentMethod] = Field(description="How it was computed")
    crowded: bool = Field(
        description="There were too many events for one computation: it may be part of a larger incident"
    )
    detected_at: datetime
    updated_at: datetime
    settled_at: datetime | None = Field(description="Since when no more events are expected")
    reviewed_by: UUID | None = Field(description="The person who reviewed it last")
    reviewed_name: str | None
    reviewed_at: datetime | None
    outcome: str | None = Field(
        description="Outcome of the review; `superseded` if it became part of another incident"
    )
    note: str | None = Field(description="The reviewer's note")
    review_s: float | None = Field(description="Time from detection to the first review, in seconds")
    superseded_by: UUID | None = Field(description="The incident into which it was merged; null: none")

    @classmethod
    def of(cls, row: Incident) -> Self:
        """Make the JSON of a row."""
        return cls(**_columns(cls, row))


def _columns(model: type[IncidentOut], row: Incident) -> dict[str, Any]:
    """Return the fields of a row, with the derived ones."""
    names = model.model_fields.keys() - _DERIVED - {"events", "history"}
    place = {"longitude": row.longitude, "latitude": row.latitude, "branch": row.branch}
    sigma = None if row.branch is None else row.branch["difference_sigma_m"]
    return {name: getattr(row, name) for name in names} | {
        "geometry": build_geometry(place),
        "difference_sigma_m": sigma,
    }


class IncidentEventOut(BaseModel):
    """An event of an incident."""

    model_config = ConfigDict(from_attributes=True)

    event_id: UUID
    box: str
    time: datetime
    role: Literal["round", "echo", "after_review"] = Field(
        description="`after_review`: it arrived after the review and changed nothing"
    )
    round: int | None = Field(description="Number of the round, from 1")
    verdict: Verdict | None = Field(
        description="`used` for the position, or why not: `late` (a reflection), `early` (another source), "
        "`inconsistent`, `unplaced` (the box has no position). Null if another round was located"
    )
    residual_ms: float | None = Field(description="Measured minus expected time of arrival, in milliseconds")
    longitude: float | None = Field(description="Longitude of the box at that time")
    latitude: float | None = Field(description="Latitude of the box, WGS 84; null: it has no location")


class IncidentEntryOut(BaseModel):
    """An entry of an incident's history."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str = Field(description="`detected`, `updated`, `confirmed` or `dismissed`", examples=["detected"])
    at: datetime = Field(description="When it happened")
    sequence: int = Field(description="The incident's version at that time")
    data: dict[str, Any] | None = Field(description="Summary of this version, with its `changes`")
    actor_kind: str = Field(description="`user` or `system`", examples=["system"])
    actor_id: UUID | None = Field(description="The actor; null: the program")
    actor_name: str | None = Field(description="The actor's name; null: the program")
    outcome: str | None = Field(description="The reviewer's verdict")
    note: str | None = Field(description="The reviewer's note")


class IncidentDetail(IncidentOut):
    """An incident with its events and its history."""

    events: list[IncidentEventOut]
    history: list[IncidentEntryOut] = Field(
        description="All versions and reviews, also corrected ones; the oldest first"
    )

    @classmethod
    def whole(cls, row: Incident, events: Sequence[IncidentEvent], history: Sequence[IncidentEntry]) -> Self:
        """Make the JSON of an incident with its events and its history."""
        return cls(
            **_columns(cls, row),
            events=[IncidentEventOut.model_validate(each) for each in events],
            history=[IncidentEntryOut.model_validate(each) for each in history],
        )


class IncidentReview(RequestBody):
    """The review of a person."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"outcome": "gunshot", "note": _NOTE}]})

    outcome: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$",
            max_length=64,
            description="The source. To confirm: a class or a model of firearms of "
            "`GET /v1/acoustic-sources`, `gunshot` or `explosion`. To dismiss: one of its look-alikes, "
            "`not_gunshot` or `undetermined`",
        ),
    ]
    note: Description | None = Field(
        None, description="Visible to callers with `incidents:read`; events do not contain it"
    )
    sequence: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="The version that you reviewed. Required to correct a review; "
            "409 `incident_changed` if the incident has another version now",
        ),
    ] = None


class PrecisionInterval(BaseModel):
    """A confidence interval."""

    low: float = Field(description="Lower end (0 to 1)")
    high: float = Field(description="Upper end (0 to 1)")
    level: float = Field(examples=[0.95], description="Confidence level (0 to 1)")


class IncidentStatisticsOut(BaseModel):
    """Statistics of the incidents of a site."""

    site_id: UUID
    from_: datetime = Field(alias="from", serialization_alias="from")
    to: datetime
    open: int = Field(description="Incidents without a review")
    confirmed: int = Field(description="Number that people confirmed")
    dismissed: int = Field(description="Incidents that people dismissed")
    withdrawn: int = Field(description="Superseded or erased incidents; no other count includes them")
    precision: float | None = Field(
        description="Share of confirmed incidents among the reviewed ones, 0 to 1; null without reviews"
    )
    precision_interval: PrecisionInterval | None = Field(description="95 % Wilson score interval")
    unreviewed_share: float | None = Field(
        description="Share of open incidents among those that were not withdrawn, 0 to 1"
    )
    median_review_s: float | None = Field(
        description="Median time from detection to the first review, in seconds"
    )
    boxes: int = Field(description="Number of boxes at the site now")
    days: float = Field(description="Length of the range, in days")
    false_alarms_per_box_day: float | None = Field(description="Dismissed incidents per box and day")
