"""What events of incidents look like, and one body of each. Shapes and data only (see event_schemas)."""

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
    """Where a sound was with a probability of `level`: around the position."""

    semi_major_m: float = Field(description="Half the longer axis", examples=[6.4])
    semi_minor_m: float = Field(description="Half the shorter axis", examples=[3.1])
    orientation_deg: float = Field(description="Of the longer axis, clockwise from north", examples=[41.0])
    level: float = Field(description="The probability", examples=[0.95])


class IncidentAlternative(BaseModel):
    """Another place that explains what was heard nearly as well."""

    longitude: float = Field(examples=[1.4461])
    latitude: float = Field(examples=[43.6039])
    ellipse: IncidentEllipse


class ClassShare(BaseModel):
    """A class, and how probable it is."""

    model_config = ConfigDict(populate_by_name=True)

    class_: str = Field(
        alias="class", description="A class of `GET /v1/acoustic-sources`", examples=["pistol"]
    )
    probability: float = Field(examples=[0.83])


class ModelShare(BaseModel):
    """A model of a firearm, and how probable it is."""

    model: str = Field(description="A model of `GET /v1/acoustic-sources`", examples=["glock-17"])
    probability: float = Field(examples=[0.52])


class IncidentData(BaseModel):
    """An incident as it is after the event. What was computed is null where it was erased."""

    incident_id: UUID
    organisation_id: UUID
    site_id: UUID
    site_name: str | None = Field(description="The site's name when it happened", examples=["Rue de Metz"])
    sentence: str = Field(
        description="What happened, in one sentence",
        examples=["Possible gunshot at Rue de Metz (pistol, 81 %)"],
    )
    sentence_fr: str = Field(description="The same in French")
    link: str = Field(
        description="Where the incident is read",
        examples=["https://vigie.example.com/v1/incidents/01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72"],
    )
    state: IncidentState
    sequence: int = Field(description="Counts up from 1 within one incident: keep the highest")
    evidence: Evidence | None = Field(
        description="`unlocated`: of one box, or of none with a place; `branch`: of two; `position`: of "
        "three or more"
    )
    verified: bool | None = Field(description="Whether more boxes agree on the position than any three would")
    occurred_at: datetime | None = Field(
        description="When the sound began; without a position, when it was first heard"
    )
    geometry: dict[str, Any] | None = Field(
        description="GeoJSON (RFC 7946): a Point where there is a position, a LineString of a branch"
    )
    ellipse: IncidentEllipse | None
    alternative: IncidentAlternative | None
    classes: list[ClassShare] = Field(description="What it may have been, the likeliest first; five at most")
    models: list[ModelShare] = Field(description="Of the likeliest class that has any; five at most")
    probability: float | None = Field(description="That it was a gunshot or an explosion")
    gunshot_probability: float | None = Field(description="That it was a gunshot")
    rounds: int | None = Field(description="How many shots, or other sounds, of one source")
    boxes: list[str] = Field(description="Those that heard it")
    detected_at: datetime
    outcome: str | None = Field(
        description="What a reviewer found; `superseded` or `erased` where the system ended it"
    )
    reviewed_at: datetime | None
    superseded_by: UUID | None = Field(description="The incident that it turned out to be a part of")
    changes: list[str] = Field(
        description="What `incident.updated` is about: `evidence`, `verified`, `position`, `class`, "
        "`probability`, `rounds`, `erased`"
    )


class IncidentDetected(EventEnvelope):
    """Boxes heard what may be a gunshot or an explosion. Nobody has looked at it."""

    type: Literal["incident.detected"]
    data: IncidentData


class IncidentUpdated(EventEnvelope):
    """Later events changed what is known of an open incident in a way that matters."""

    type: Literal["incident.updated"]
    data: IncidentData


class IncidentConfirmed(EventEnvelope):
    """A person found that it was one."""

    type: Literal["incident.confirmed"]
    data: IncidentData


class IncidentDismissed(EventEnvelope):
    """A person found that it was none; or nothing is left of it (`outcome` says which)."""

    type: Literal["incident.dismissed"]
    data: IncidentData


INCIDENT_EVENT_SCHEMAS: Final[Mapping[str, type[EventEnvelope]]] = {
    INCIDENT_DETECTED: IncidentDetected,
    INCIDENT_UPDATED: IncidentUpdated,
    INCIDENT_CONFIRMED: IncidentConfirmed,
    INCIDENT_DISMISSED: IncidentDismissed,
}
"""The types, with the shapes of their bodies."""

_DETECTED: Final[dict[str, Any]] = {
    "incident_id": "01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72",
    "organisation_id": "01a20ff2-3b1c-7e44-9d0a-5a1f0c2b7d10",
    "site_id": "01a20ff2-6f03-7a91-8c55-0be1d94f2a37",
    "site_name": "Rue de Metz",
    "link": "https://vigie.example.com/v1/incidents/01a2101a-7c44-7d0b-8e21-6a9b3f5c1d72",
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
    said = {key: event_sentence(type_, data, language) for key, language in SENTENCES.items()}
    return {"type": type_, "timestamp": f"2026-11-24T{at}Z", "data": {**data, **said}}


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
"""One body of each type, as JSON has it."""
