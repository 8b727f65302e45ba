"""Defines the JSON of the register, and builds it from the model."""

from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from app.catalogue.device_event_types import EVENT_TYPE_OF
from app.public_register.register_model import PublishedPurpose, PublishedSite, RefusalCount, RegisterSnapshot


class PublicText(BaseModel):
    """A text in both languages."""

    en: str = Field(description="The English text.", examples=["Noise"])
    fr: str = Field(description="The French text.", examples=["Bruit"])


class PublicEvent(BaseModel):
    """A type of event that boxes can recognise."""

    name: str = Field(examples=["gunshot"], description="The `type` of the event in messages.")
    title: PublicText


class PublicRetention(BaseModel):
    """How long data of a purpose are stored."""

    days: int | None = Field(description="Storage period of measurements (days). Null: unlimited.")
    removed: bool = Field(
        description="True: older data are removed. False: older data are only rejected on receipt; stored "
        "data stay."
    )
    summaries_days: int | None = Field(
        description="Storage period of hourly and daily means (days). Null: unlimited."
    )


class PublicPurpose(BaseModel):
    """A purpose of a site with its legal basis. Null marks a statement that the operator has not made."""

    name: str = Field(description="The name of the purpose.", examples=["noise"])
    title: PublicText
    standing: Literal["in_force", "not_yet", "awaiting_approval", "ended"] = Field(
        description="The standing of the purpose. Data are accepted only while it is `in_force`."
    )
    sensitive: bool = Field(
        description="Whether all statements and the approval of a second person are required."
    )
    metrics: list[str] = Field(description="Metrics that belong to the purpose (`GET /v1/metrics`).")
    events: list[PublicEvent] = Field(description="Types of events that belong to the purpose.")
    legal_basis: str | None = Field(
        description="The legal basis: one of the GDPR, `law_enforcement`, `other_law`, `not_personal_data`.",
        examples=["public_task"],
    )
    legal_reference: str | None = Field(
        description="The law or decision behind the legal basis.",
        examples=["Code de l'environnement, article L. 572-1"],
    )
    origin: Literal["default", "operator"] = Field(
        description="`operator`: the operator declared the purpose. `default`: the program created it with "
        "the site; no legal basis is claimed, and nothing is published."
    )
    controller: str = Field(description="The controller. By default the operator.")
    contact: str | None = Field(description="Contact of the controller.")
    impact_assessment: str | None = Field(description="Reference of the data-protection impact assessment.")
    notice: str | None = Field(description="Place or address of the notice to the public.")
    description: str | None = Field(
        description="The reason for measuring, in English.", examples=["To know how loud the street is."]
    )
    description_fr: str | None = Field(
        description="The reason for measuring, in French.", examples=["Connaître le niveau sonore de la rue."]
    )
    open_data: bool = Field(description="Whether figures are published.")
    starts_at: datetime | None = Field(description="Start of the purpose. Null: not limited.")
    ends_at: datetime | None = Field(description="End of the purpose. Null: not limited.")
    approved_at: datetime | None = Field(
        description="Time of the approval by a second person. The name of that person is not public."
    )
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
        description="The number of the box in the register. Its own id is not public.",
        examples=["3f9c2a7d10be"],
    )
    since: date = Field(description="Date of the registration.")
    longitude: float | None = Field(
        description="Longitude of the middle of its cell (WGS 84). Null: that of the site.",
        examples=[1.445132],
    )
    latitude: float | None = Field(
        description="Latitude of the middle of its cell (WGS 84). Null: that of the site.",
        examples=[43.604474],
    )


class PublicRecipient(BaseModel):
    """A recipient of alerts."""

    kind: Literal["webhook", "email", "mqtt"] = Field(description="The transport.")
    name: str | None = Field(
        description="Name of the recipient. Null: the operator has not named it.",
        examples=["Police municipale"],
    )


class PublicGrant(BaseModel):
    """A third party that may read data of the site."""

    purpose: str = Field(
        description="What it uses the data for.", examples=["Calibration of low-cost sensors"]
    )
    recipient: str | None = Field(
        description="Its name. Null: the operator does not name it.", examples=["Air Lab"]
    )
    metrics: list[str] = Field(description="The metrics that it may read.", examples=[["pm2_5"]])
    valid_until: datetime = Field(description="The end of its access.")


class PublicAlerts(BaseModel):
    """Numbers of alerts of a highest severity."""

    severity: str = Field(description="Highest severity of the alerts.", examples=["warning"])
    last_30_days: int = Field(description="Alerts within 30 days.", examples=[2])
    last_365_days: int = Field(description="Alerts within 365 days.", examples=[17])


class PublicRefusals(BaseModel):
    """Numbers of messages that were rejected on receipt. Their content is not stored."""

    code: str = Field(description="The rejection code.", examples=["purpose_not_declared"])
    purpose: str | None = Field(
        description="The purpose of the messages. Null: the code has none.", examples=["video_analytics"]
    )
    last_30_days: int = Field(description="Messages within 30 days.", examples=[2])
    last_365_days: int = Field(description="Messages within 365 days.", examples=[17])


class PublicIncidents(BaseModel):
    """Numbers of acoustic incidents, with the share that people confirmed."""

    last_30_days: int = Field(description="Incidents within 30 days.", examples=[2])
    last_365_days: int = Field(description="Incidents within 365 days.", examples=[17])
    confirmed: int = Field(description="Incidents of the 365 days that people confirmed.", examples=[9])
    dismissed: int = Field(description="Incidents of the 365 days that people dismissed.", examples=[1])
    precision: float | None = Field(
        description="Confirmed share of the reviewed incidents (0 to 1). Null: none was reviewed.",
        examples=[0.9],
    )
    precision_interval: list[float] | None = Field(
        description="95% confidence interval of `precision` (Wilson's score interval). Null: no incident was "
        "reviewed.",
        examples=[[0.596, 0.982]],
    )
    false_alarms_per_year: float | None = Field(
        description="Dismissed incidents, extrapolated to a year. Null: observed for fewer than 7 days.",
        examples=[1.0],
    )


class PublicSite(BaseModel):
    """A site with all its public data."""

    id: UUID = Field(description="The id of the site.")
    name: str = Field(description="The name of the site.", examples=["Rue d'Alsace-Lorraine"])
    operator: str = Field(
        description="The organisation that is responsible for the site.", examples=["Ville de Toulouse"]
    )
    kind: str = Field(description="The kind of place.", examples=["street"])
    timezone: str = Field(
        description="The time zone of the site, which defines its days.", examples=["Europe/Paris"]
    )
    longitude: float = Field(description="Longitude of the middle of its cell (WGS 84).", examples=[1.445132])
    latitude: float = Field(description="Latitude of the middle of its cell (WGS 84).", examples=[43.604474])
    precision_m: int = Field(description="Width of the grid cells (m).", examples=[100])
    address: str | None = Field(
        description="The address that the operator gave.", examples=["Rue d'Alsace-Lorraine, Toulouse"]
    )
    licence: str | None = Field(
        description="The licence of the open data (SPDX identifier). Null: the operator named none.",
        examples=["etalab-2.0"],
    )
    declared: bool = Field(description="Whether the operator has declared at least one purpose.")
    since: datetime = Field(description="Time of creation.")
    boxes: list[PublicBox] = Field(description="The boxes of the site.", examples=[[_BOX]])
    purposes: list[PublicPurpose] = Field(description="The purposes of the site with their legal bases.")
    recipients: list[PublicRecipient] = Field(description="Recipients of alerts.")
    grants: list[PublicGrant] = Field(description="Third parties that may read data of the site.")
    alerts: list[PublicAlerts] = Field(description="Numbers of alerts by their highest severity.")
    refusals: list[PublicRefusals] = Field(description="Messages that were rejected on receipt.")
    incidents: PublicIncidents | None = Field(
        description="Acoustic incidents. Null: the site recognises none."
    )


class PublicRegister(BaseModel):
    """The whole register."""

    format_version: Literal[1] = Field(
        description="Version of this format. Additional fields do not change it."
    )
    made_at: datetime = Field(description="The time of the data.")
    sites: list[PublicSite] = Field(description="All sites with at least one box.")
    refusals: list[PublicRefusals] = Field(description="Rejected messages without a known site.")


def _refusals(refusals: tuple[RefusalCount, ...]) -> list[PublicRefusals]:
    return [
        PublicRefusals(code=each.code, purpose=each.purpose, last_30_days=each.month, last_365_days=each.year)
        for each in refusals
    ]


def _purpose(site: PublishedSite, each: PublishedPurpose, now: datetime) -> PublicPurpose:
    known = each.known
    same_fields: dict[str, Any] = {
        name: getattr(each, name) for name in PublicPurpose.model_fields if hasattr(each, name)
    }
    return PublicPurpose.model_validate(
        {
            **same_fields,
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
    """Build the JSON of a site."""
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
        grants=[PublicGrant.model_validate(each, from_attributes=True) for each in site.grants],
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
    """Build the JSON of the whole register."""
    return PublicRegister(
        format_version=1,
        made_at=register.at,
        sites=[build_site_document(site, register.at) for site in register.sites.values()],
        refusals=_refusals(register.unattributed),
    )
