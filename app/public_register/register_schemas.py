"""The register as JSON: the shapes of what is public, on the wire. Shapes only."""

from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.public_register.register_model import PublishedPurpose, PublishedSite, RefusalCount, RegisterSnapshot


class PublicText(BaseModel):
    """A text in both languages."""

    en: str = Field(description="In English", examples=["Noise"])
    fr: str = Field(description="In French", examples=["Bruit"])


class PublicEvent(BaseModel):
    """A type of event that is recognised."""

    name: str = Field(examples=["gunshot"], description="The `type` of messages")
    title: PublicText


class PublicRetention(BaseModel):
    """How long what is measured for a purpose is kept."""

    days: int | None = Field(description="Null: without limit of time")
    removed: bool = Field(
        description="Whether what is older is removed; otherwise it is refused on arrival, and no more"
    )
    summaries_days: int | None = Field(
        description="How long means of hours and days are kept; null: without limit of time"
    )


class PublicPurpose(BaseModel):
    """What a site measures for, and by what right. Null is what the operator has not said."""

    name: str = Field(description="The purpose's name", examples=["noise"])
    title: PublicText
    standing: Literal["in_force", "not_yet", "awaiting_approval", "ended"] = Field(
        description="Only for a purpose that is in force anything is taken"
    )
    sensitive: bool = Field(description="Every field and a second person's approval are required")
    metrics: list[str] = Field(description="What may be measured for it (`GET /v1/metrics`)")
    events: list[PublicEvent] = Field(description="What may be recognised for it")
    legal_basis: str | None = Field(
        description="By what right: a basis of the GDPR, `law_enforcement`, `other_law`, `not_personal_data`",
        examples=["public_task"],
    )
    legal_reference: str | None = Field(
        description="The text that it rests on", examples=["Code de l'environnement, article L. 572-1"]
    )
    origin: Literal["default", "operator"] = Field(
        description="`default`: it came with the site, and the operator has declared nothing of it: no legal "
        "basis is claimed, and nothing is published. `operator`: the operator has declared it"
    )
    controller: str = Field(description="Who answers for it; the operator where nobody else is named")
    contact: str | None = Field(description="Where that one is reached")
    impact_assessment: str | None = Field(
        description="The reference of the data-protection impact assessment"
    )
    notice: str | None = Field(description="Where the notice to the public is")
    description: str | None = Field(
        description="What it is for, in English", examples=["To know how loud the street is."]
    )
    description_fr: str | None = Field(
        description="The same in French", examples=["Connaître le niveau sonore de la rue."]
    )
    open_data: bool = Field(description="Whether figures are published")
    starts_at: datetime | None = Field(description="From when on; null: whatever was measured")
    ends_at: datetime | None = Field(description="Until when; null: without an end")
    approved_at: datetime | None = Field(description="When a second person approved it; who, is not public")
    retention: PublicRetention


_BOX: Final[JsonDict] = {
    "id": "3f9c2a7d10be",
    "since": "2026-11-24",
    "longitude": 1.445132,
    "latitude": 43.604474,
}


class PublicBox(BaseModel):
    """A box."""

    id: str = Field(
        description="Its number in the register; the id under which it sends is not public",
        examples=["3f9c2a7d10be"],
    )
    since: date = Field(description="When it was registered")
    longitude: float | None = Field(
        description="The middle of its cell; null: the site's", examples=[1.445132]
    )
    latitude: float | None = Field(
        description="The middle of its cell; null: the site's", examples=[43.604474]
    )


class PublicRecipient(BaseModel):
    """Whom alerts go to."""

    kind: Literal["webhook", "email", "mqtt"] = Field(description="By which way")
    name: str | None = Field(
        description="Who; null: the operator has named nobody", examples=["Police municipale"]
    )


class PublicAlerts(BaseModel):
    """How many alerts fired."""

    severity: str = Field(description="Of the alerts", examples=["warning"])
    last_30_days: int = Field(description="Within 30 days", examples=[2])
    last_365_days: int = Field(description="Within 365 days", examples=[17])


class PublicRefusals(BaseModel):
    """How often something was refused; nothing of it is stored."""

    code: str = Field(description="Why", examples=["purpose_not_declared"])
    purpose: str | None = Field(
        description="What it was for; null where the code has none", examples=["video_analytics"]
    )
    last_30_days: int = Field(description="Within 30 days", examples=[2])
    last_365_days: int = Field(description="Within 365 days", examples=[17])


class PublicIncidents(BaseModel):
    """Acoustic incidents, and how often they were real."""

    last_30_days: int = Field(description="Within 30 days", examples=[2])
    last_365_days: int = Field(description="Within 365 days", examples=[17])
    confirmed: int = Field(description="Of those of 365 days that people confirmed", examples=[9])
    dismissed: int = Field(description="Of those of 365 days that people dismissed", examples=[1])
    precision: float | None = Field(
        description="Confirmed among reviewed ones, of one; null: none was reviewed", examples=[0.9]
    )
    precision_interval: list[float] | None = Field(
        description="Within which the precision is with 95 % (Wilson's score interval), of one; null: the "
        "same",
        examples=[[0.596, 0.982]],
    )
    false_alarms_per_year: float | None = Field(
        description="Dismissed ones in a year, in proportion to the days observed; null: fewer than seven",
        examples=[1.0],
    )


class PublicSite(BaseModel):
    """A site with all that is public of it."""

    id: UUID = Field(description="The site's id")
    name: str = Field(description="What its operator calls it", examples=["Rue d'Alsace-Lorraine"])
    operator: str = Field(description="The organisation whose it is", examples=["Ville de Toulouse"])
    kind: str = Field(description="The kind of place", examples=["street"])
    timezone: str = Field(description="Says what a day is there", examples=["Europe/Paris"])
    longitude: float = Field(description="The middle of its cell, WGS 84", examples=[1.445132])
    latitude: float = Field(description="The middle of its cell, WGS 84", examples=[43.604474])
    precision_m: int = Field(description="How wide cells are (m)", examples=[100])
    address: str | None = Field(
        description="Where it is, as the operator says it", examples=["Rue d'Alsace-Lorraine, Toulouse"]
    )
    licence: str | None = Field(
        description="The licence of its open data, an SPDX identifier; null: none is named",
        examples=["etalab-2.0"],
    )
    declared: bool = Field(description="Whether the operator has declared any purpose of it")
    since: datetime = Field(description="When it was made")
    boxes: list[PublicBox] = Field(description="What stands there", examples=[[_BOX]])
    purposes: list[PublicPurpose] = Field(description="What it measures for, and by what right")
    recipients: list[PublicRecipient] = Field(description="Whom alerts go to")
    alerts: list[PublicAlerts] = Field(description="How many fired")
    refusals: list[PublicRefusals] = Field(description="What was refused at the doors")
    incidents: PublicIncidents | None = Field(description="Null: none are recognised here")


class PublicRegister(BaseModel):
    """The whole register."""

    format_version: Literal[1] = Field(description="Of this document; additions do not change it")
    made_at: datetime = Field(description="When it was read")
    sites: list[PublicSite] = Field(description="Every site with at least one box")
    refusals: list[PublicRefusals] = Field(description="Of no known site")


def _refusals(refusals: tuple[RefusalCount, ...]) -> list[PublicRefusals]:
    return [
        PublicRefusals(code=each.code, purpose=each.purpose, last_30_days=each.month, last_365_days=each.year)
        for each in refusals
    ]


def _purpose(site: PublishedSite, each: PublishedPurpose, now: datetime) -> PublicPurpose:
    known = each.known
    told: dict[str, Any] = {
        name: getattr(each, name) for name in PublicPurpose.model_fields if hasattr(each, name)
    }
    return PublicPurpose.model_validate(
        {
            **told,
            "name": each.purpose,
            "title": {"en": known.title, "fr": known.title_fr},
            "standing": each.standing(now),
            "metrics": known.metrics,
            "events": [
                {"name": name, "title": {"en": EVENT_TYPE_OF[name].title, "fr": EVENT_TYPE_OF[name].title_fr}}
                for name in known.events
            ],
            "controller": each.controller or site.operator,
            "retention": {
                "days": site.retention.days(each.purpose),
                "removed": site.retention.removes,
                "summaries_days": site.retention.summaries_days,
            },
        }
    )


def build_site_document(site: PublishedSite, now: datetime) -> PublicSite:
    """A site as JSON has it."""
    figures = site.incidents
    return PublicSite(
        id=site.id,
        name=site.name,
        operator=site.operator,
        kind=site.kind,
        timezone=site.timezone,
        longitude=site.longitude,
        latitude=site.latitude,
        precision_m=site.precision_m,
        address=site.address,
        licence=site.licence,
        declared=bool(site.declared),
        since=site.created_at,
        boxes=[
            PublicBox(id=each.id, since=each.since, longitude=each.longitude, latitude=each.latitude)
            for each in site.boxes
        ],
        purposes=[_purpose(site, each, now) for each in site.purposes],
        recipients=[
            PublicRecipient.model_validate({"kind": each.kind, "name": each.recipient})
            for each in site.recipients
        ],
        alerts=[
            PublicAlerts(severity=each.severity, last_30_days=each.month, last_365_days=each.year)
            for each in site.alerts
        ],
        refusals=_refusals(site.refusals),
        incidents=None
        if figures is None
        else PublicIncidents(
            last_30_days=figures.month,
            last_365_days=figures.year,
            confirmed=figures.confirmed,
            dismissed=figures.dismissed,
            precision=figures.precision,
            precision_interval=None if figures.interval is None else list(figures.interval),
            false_alarms_per_year=figures.false_alarms_per_year,
        ),
    )


def build_register_document(register: RegisterSnapshot) -> PublicRegister:
    """All of it as JSON."""
    return PublicRegister(
        format_version=1,
        made_at=register.at,
        sites=[build_site_document(site, register.at) for site in register.sites.values()],
        refusals=_refusals(register.unattributed),
    )
