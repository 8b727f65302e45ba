"""Defines the JSON bodies of notification events about incidents, with an example of each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.notifications.events.event_types import (
    INCIDENT_CONFIRMED,
    INCIDENT_DETECTED,
    INCIDENT_DISMISSED,
    INCIDENT_UPDATED,
    EventEnvelope,
)
from app.notifications.sentences import SENTENCES, event_sentence

type Evidence = Literal["unlocated", "branch", "position"]
type IncidentState = Literal["open", "confirmed", "dismissed"]


class IncidentEllipse(BaseModel):
    """The error ellipse around the position: the sound was inside it with the probability `level`."""

    semi_major_m: float = Field(description="The semi-major axis", examples=[6.4])
    semi_minor_m: float = Field(description="The semi-minor axis", examples=[3.1])
    orientation_deg: float = Field(
        description="The direction of the major axis, clockwise from north", examples=[41.0]
    )
    level: float = Field(description="The probability", examples=[0.95])


class IncidentAlternative(BaseModel):
    """Another position that explains the sound nearly as well."""

    longitude: float = Field(examples=[1.4461], description="Longitude of the alternative position, WGS 84")
    latitude: float = Field(examples=[43.6039], description="Latitude of the alternative position, WGS 84")
    ellipse: IncidentEllipse


class ClassShare(BaseModel):
    """A class of sound with its probability."""

    model_config = ConfigDict(populate_by_name=True)

    class_: str = Field(
        alias="class", description="A class of `GET /v1/acoustic-sources`", examples=["pistol"]
    )
    probability: float = Field(examples=[0.83], description="Probability of this class (0 to 1)")


class ModelShare(BaseModel):
    """A model of a firearm with its probability."""

    model: str = Field(description="A model of `GET /v1/acoustic-sources`", examples=["glock-17"])
    probability: float = Field(examples=[0.52], description="Probability of this model (0 to 1)")


class IncidentData(BaseModel):
    """An incident after the event. Computed values are null if they were erased."""

    incident_id: UUID = Field(description="The incident's id")
    organisation_id: UUID
    site_id: UUID
    site_name: str | None = Field(
        description="The site's name at the time of the event", examples=["Rue de Metz"]
    )
    sentence: str = Field(
        description="What happened, in one sentence",
        examples=["Possible gunshot at Rue de Metz (pistol, 81 %)"],
    )
    sentence_fr: str = Field(description="The sentence in French")
    link: str = Field(
        description="The incident's URL",
        examples=["https://vigie.example.com/console/incidents/01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72"],
    )
    state: IncidentState
    sequence: int = Field(
        description="The number of the event among those of its incident, from 1: the highest is the latest "
        "state"
    )
    evidence: Evidence | None = Field(
        description="`unlocated`: one box, or none with a position; `branch`: two boxes; `position`: three "
        "or "
        "more boxes"
    )
    verified: bool | None = Field(description="Whether more than three boxes agree on the position")
    occurred_at: datetime | None = Field(
        description="When the sound began; without a position, when a box first heard it"
    )
    geometry: dict[str, Any] | None = Field(
        description="GeoJSON (RFC 7946): a Point for `position`, a LineString for `branch`"
    )
    ellipse: IncidentEllipse | None = Field(
        description="The area that contains it with 95 % probability; null: it has no position"
    )
    alternative: IncidentAlternative | None = Field(
        description="An alternative position; null: there is none"
    )
    classes: list[ClassShare] = Field(description="The likeliest classes of sound, at most five")
    models: list[ModelShare] = Field(
        description="The models of the likeliest class that has any, at most five"
    )
    probability: float | None = Field(description="The probability of a gunshot or an explosion")
    gunshot_probability: float | None = Field(description="The probability of a gunshot")
    rounds: int | None = Field(description="The number of shots, or other sounds, of one source")
    boxes: list[str] = Field(description="The boxes that heard it")
    detected_at: datetime
    outcome: str | None = Field(
        description="The reviewer's finding; `superseded` or `erased` if the system ended the incident"
    )
    reviewed_at: datetime | None
    superseded_by: UUID | None = Field(description="The incident that this one is part of")
    changes: list[str] = Field(
        description="The changes of `incident.updated`: `evidence`, `verified`, `position`, `class`, "
        "`probability`, `rounds`, `erased`"
    )


class IncidentDetected(EventEnvelope):
    """Boxes heard what may be a gunshot or an explosion. It is not reviewed yet."""

    type: Literal["incident.detected"]
    data: IncidentData


class IncidentUpdated(EventEnvelope):
    """Later events changed what is known about an open incident."""

    type: Literal["incident.updated"]
    data: IncidentData


class IncidentConfirmed(EventEnvelope):
    """A person reviewed the incident and confirmed it."""

    type: Literal["incident.confirmed"]
    data: IncidentData


class IncidentDismissed(EventEnvelope):
    """A person dismissed the incident, or none of its data is left; see `outcome`."""

    type: Literal["incident.dismissed"]
    data: IncidentData


INCIDENT_EVENT_SCHEMAS: Final[Mapping[str, type[EventEnvelope]]] = {
    INCIDENT_DETECTED: IncidentDetected,
    INCIDENT_UPDATED: IncidentUpdated,
    INCIDENT_CONFIRMED: IncidentConfirmed,
    INCIDENT_DISMISSED: IncidentDismissed,
}
"""The model of the body of each type."""

_DETECTED: Final[dict[str, Any]] = {
    "incident_id": "01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72",
    "organisation_id": "01a20ff2-3b1c-7e44-9d0a-5a1f0c2b7d10",
    "site_id": "01a20ff2-6f03-7a91-8c55-0be1d94f2a37",
    "site_name": "Rue de Metz",
    "link": "https://vigie.example.com/console/incidents/01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72",
    "state": "open",
    "sequence": 1,
    "evidence": "unlocated",
    "verified": False,
    "occurred_at": "2026-11-24T22:14:03.125481Z",
    "geometry": None,
    "ellipse": None,
    "alternative": None,
    "classes": [{"class": "pistol", "probability": 0.78}, {"class": "firework", "probability": 0.14}],
    "models": [{"model": "glock-17", "probability": 0.41}],
    "probability": 0.81,
    "gunshot_probability": 0.81,
    "rounds": 1,
    "boxes": ["box-0001"],
    "detected_at": "2026-11-24T22:14:04.310Z",
    "outcome": None,
    "reviewed_at": None,
    "superseded_by": None,
    "changes": [],
}
_LOCATED: Final[dict[str, Any]] = {
    **_DETECTED,
    "sequence": 2,
    "evidence": "position",
    "verified": True,
    "occurred_at": "2026-11-24T22:14:02.640117Z",
    "geometry": {"type": "Point", "coordinates": [1.4449871, 43.6047213]},
    "ellipse": {"semi_major_m": 6.4, "semi_minor_m": 3.1, "orientation_deg": 41.0, "level": 0.95},
    "classes": [{"class": "pistol", "probability": 0.93}, {"class": "firework", "probability": 0.04}],
    "models": [{"model": "glock-17", "probability": 0.66}],
    "probability": 0.95,
    "gunshot_probability": 0.95,
    "rounds": 2,
    "boxes": ["box-0001", "box-0002", "box-0003", "box-0004"],
}


def _body(type_: str, at: str, data: dict[str, Any]) -> dict[str, Any]:
    sentences = {key: event_sentence(type_, data, language) for key, language in SENTENCES.items()}
    return {"type": type_, "timestamp": f"2026-11-24T{at}Z", "data": {**data, **sentences}}


def _reviewed(state: str, outcome: str) -> dict[str, Any]:
    at = "2026-11-24T22:16:41.902Z"
    return {**_LOCATED, "state": state, "sequence": 3, "outcome": outcome, "reviewed_at": at}


EXAMPLES: Final = (
    _body(INCIDENT_DETECTED, "22:14:04.310", _DETECTED),
    _body(
        INCIDENT_UPDATED,
        "22:14:06.322",
        {**_LOCATED, "changes": ["evidence", "verified", "rounds", "probability"]},
    ),
    _body(INCIDENT_CONFIRMED, "22:16:41.902", _reviewed("confirmed", "gunshot")),
    _body(INCIDENT_DISMISSED, "22:16:41.902", _reviewed("dismissed", "firework")),
)
"""An example body of each type."""
