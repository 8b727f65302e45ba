"""The shapes of incidents on the wire. Shapes only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.incidents.event_clustering import Verdict
from app.incidents.incident_events import build_geometry
from app.incidents.models import Incident, IncidentEntry, IncidentEvent
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

_DERIVED: Final = frozenset({"geometry", "difference_sigma_m"})
_NOTE: Final = "Two patrols heard it; cartridges were found"


class IncidentTemperature(BaseModel):
    """What the air's temperature was taken for: the speed of sound follows from it."""

    celsius: float = Field(description="In °C", examples=[8.4])
    sigma_celsius: float = Field(description="Its standard error (°C)", examples=[2.0])
    source: Literal["measured", "default"] = Field(
        description="`measured`: the median of what boxes of the site measured in the hour before"
    )
    boxes: int = Field(description="How many measured it")


class IncidentMethod(BaseModel):
    """A method by which it was computed."""

    name: str = Field(examples=["tdoa_robust_least_squares"])
    version: int = Field(examples=[1])
    citation: str
    parameters: dict[str, float]


class IncidentOut(ResourceModel):
    """Sounds of one place in quick succession, as far as the boxes of a site heard them."""

    volatile: ClassVar[frozenset[str]] = frozenset({"settled_at", "events", "history"})

    id: UUID
    organisation_id: UUID
    site_id: UUID
    state: IncidentState = Field(description="`open` until a person says what it was")
    sequence: int = Field(description="Counts up with each version that is told")
    evidence: Evidence = Field(
        description="`unlocated`: one box, or none with a place; `branch`: two; `position`: three or more"
    )
    verified: bool = Field(description="Whether more boxes agree on the position than any three would")
    occurred_at: datetime = Field(
        description="When the sound began; without a position, when it was first heard"
    )
    occurred_sigma_ms: float | None = Field(description="Standard error of that")
    first_heard_at: datetime
    last_heard_at: datetime
    geometry: dict[str, Any] | None = Field(
        description="GeoJSON: a Point where there is a position, a LineString of a branch",
        examples=[{"type": "Point", "coordinates": [1.4449871, 43.6047213]}],
    )
    ellipse: IncidentEllipse | None = Field(description="Around the position")
    difference_sigma_m: float | None = Field(
        description="Of a branch: standard error of the difference of the distances to its two boxes (m)"
    )
    alternative: IncidentAlternative | None = Field(description="Another place that is nearly as likely")
    classes: list[ClassShare] = Field(description="What it may have been, the likeliest first")
    models: list[ModelShare] = Field(description="Of the likeliest class that has any")
    probability: float = Field(description="That it was a gunshot or an explosion")
    gunshot_probability: float = Field(description="That it was a gunshot")
    rounds: int = Field(description="How many shots, or other sounds, of one source")
    boxes: list[str] = Field(description="Those that heard it")
    temperature: IncidentTemperature
    method: list[IncidentMethod]
    crowded: bool = Field(
        description="There was more to be heard than is looked at together: it may be a part of something"
    )
    detected_at: datetime
    updated_at: datetime
    settled_at: datetime | None = Field(description="Since when nothing more is expected of it")
    reviewed_by: UUID | None = Field(description="The person who reviewed it last")
    reviewed_name: str | None
    reviewed_at: datetime | None
    outcome: str | None = Field(
        description="What that found; `superseded` where it turned out to be a part of another incident"
    )
    note: str | None
    review_s: float | None = Field(description="How long after detection the review was, in seconds")
    superseded_by: UUID | None

    @classmethod
    def of(cls, row: Incident) -> Self:
        """The shape of a row."""
        return cls(**_columns(cls, row))


def _columns(model: type[IncidentOut], row: Incident) -> dict[str, Any]:
    """The fields of a row. What is derived is made here."""
    names = model.model_fields.keys() - _DERIVED - {"events", "history"}
    place = {"longitude": row.longitude, "latitude": row.latitude, "branch": row.branch}
    sigma = None if row.branch is None else row.branch["difference_sigma_m"]
    return {name: getattr(row, name) for name in names} | {
        "geometry": build_geometry(place),
        "difference_sigma_m": sigma,
    }


class IncidentEventOut(BaseModel):
    """An event that is of an incident."""

    model_config = ConfigDict(from_attributes=True)

    event_id: UUID
    box: str
    time: datetime
    role: Literal["round", "echo", "after_review"] = Field(
        description="`after_review`: it came when the incident was reviewed, and changed nothing"
    )
    round: int | None = Field(description="Which round it is of, from 1 on")
    verdict: Verdict | None = Field(
        description="`used` for the position, or why not: `late` (a reflection), `early` (something else), "
        "`inconsistent`, `unplaced` (nobody has said where the box stands); null: another round tells that"
    )
    residual_ms: float | None = Field(description="Heard minus expected from the position")
    longitude: float | None = Field(description="Where the box stood")
    latitude: float | None


class IncidentEntryOut(BaseModel):
    """Something that happened to an incident."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str = Field(description="`detected`, `updated`, `confirmed` or `dismissed`", examples=["detected"])
    at: datetime
    sequence: int
    data: dict[str, Any] | None = Field(description="What it was then, and the `changes`")
    actor_kind: str = Field(description="`user` or `system`", examples=["system"])
    actor_id: UUID | None
    actor_name: str | None
    outcome: str | None
    note: str | None


class IncidentDetail(IncidentOut):
    """An incident with its events, and all that happened to it."""

    events: list[IncidentEventOut]
    history: list[IncidentEntryOut] = Field(description="Corrected reviews, too; the oldest first")

    @classmethod
    def whole(cls, row: Incident, events: Sequence[IncidentEvent], history: Sequence[IncidentEntry]) -> Self:
        """The shape of rows."""
        return cls(
            **_columns(cls, row),
            events=[IncidentEventOut.model_validate(each) for each in events],
            history=[IncidentEntryOut.model_validate(each) for each in history],
        )


class IncidentReview(RequestBody):
    """What a person found."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"outcome": "gunshot", "note": _NOTE}]})

    outcome: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$",
            max_length=64,
            description="What it was: a class or a model of `GET /v1/acoustic-sources`. To confirm also "
            "`gunshot` and `explosion`; to dismiss look-alikes, `not_gunshot` and `undetermined`",
        ),
    ]
    note: Description | None = Field(None, description="For those who may read incidents; told to nobody")
    sequence: Annotated[
        int | None,
        Field(ge=1, le=2**31 - 1, description="The version that it is about; needed to correct a review"),
    ] = None


class PrecisionInterval(BaseModel):
    """A confidence interval."""

    low: float
    high: float
    level: float = Field(examples=[0.95])


class IncidentStatisticsOut(BaseModel):
    """What the incidents of a site came to."""

    site_id: UUID
    from_: datetime = Field(alias="from", serialization_alias="from")
    to: datetime
    open: int = Field(description="Nobody has reviewed them")
    confirmed: int
    dismissed: int = Field(description="By people")
    withdrawn: int = Field(description="Parts of other incidents, and those of which nothing is left")
    precision: float | None = Field(
        description="Confirmed of those that were reviewed, 0 to 1; null where none was"
    )
    precision_interval: PrecisionInterval | None = Field(description="Wilson's score interval of 95 %")
    unreviewed_share: float | None = Field(description="Open ones of all that were not withdrawn, 0 to 1")
    median_review_s: float | None = Field(description="From detection to the first review, in seconds")
    boxes: int = Field(description="Boxes at the site now")
    days: float = Field(description="How long the range is")
    false_alarms_per_box_day: float | None = Field(description="Dismissed ones by box and day")
