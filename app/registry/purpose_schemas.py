"""The shapes of purposes on the wire. Shapes only."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.catalogue.device_event_types import EventForm, EventType
from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, Purpose, PurposeName
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, Instant, Name, RequestBody, make_omittable_field
from app.registry.models import Site, SitePurpose
from app.registry.purpose_service import get_retention_settings
from app.registry.purpose_states import LegalBasis, PurposeState, compute_purpose_state, find_missing_fields

REQUIRED: Final = (
    *("legal_basis", "legal_reference", "controller", "contact", "impact_assessment", "notice"),
    *("description", "ends_at", "retention"),
)
"""What a sensitive purpose has to say; `retention` is the site's."""
_WORDS: Final = (
    *("legal_basis", "legal_reference", "controller", "contact", "impact_assessment", "notice"),
    *("description", "description_fr", "open_data", "starts_at", "ends_at"),
)
_EXAMPLE: Final[dict[str, Any]] = {
    "legal_basis": "public_task",
    "legal_reference": "Decision 2026-17 of the city council",
    "controller": "City of Toulouse",
    "contact": "privacy@toulouse.example",
    "impact_assessment": "DPIA-2026-004",
    "notice": "https://toulouse.example/noise",
    "description": "Shows where traffic is too loud at night.",
    "description_fr": "Montre où la circulation est trop bruyante la nuit.",
    "open_data": True,
}


class PurposeOut(BaseModel):
    """A purpose that sites can declare."""

    name: PurposeName = Field(description="As paths and settings call it")
    title: str = Field(description="What people call it, in English")
    title_fr: str = Field(description="The same in French")
    sensitive: bool = Field(
        description="Whether it needs every field of `required`, and a second person's approval. The others "
        "are declared with each site"
    )
    metrics: list[str] = Field(description="Metrics that are for it")
    event_types: list[str] = Field(description="Types of events that are for it")
    required: list[str] = Field(description="What has to be declared; `retention` is set at the site's")

    @classmethod
    def of(cls, purpose: Purpose) -> "PurposeOut":
        """The shape of a purpose."""
        return cls(
            name=purpose.name,
            title=purpose.title,
            title_fr=purpose.title_fr,
            sensitive=purpose.sensitive,
            metrics=list(purpose.metrics),
            event_types=list(purpose.events),
            required=list(REQUIRED) if purpose.sensitive else [],
        )


class CatalogueEventOut(BaseModel):
    """A type of events that boxes and gateways may report."""

    name: str = Field(description="The `type` of messages", examples=["gunshot"])
    title: str = Field(description="What people call it, in English")
    title_fr: str = Field(description="The same in French")
    form: EventForm = Field(
        description="What it may carry besides `time` and `seq`. `recognised`: candidates, level_db, "
        "spectrum, clock_error_ms; `plain`: nothing; `count`: count; `state`: state"
    )
    purpose: PurposeName = Field(description="What it is for")

    @classmethod
    def of(cls, kind: EventType) -> "CatalogueEventOut":
        """The shape of a type."""
        return cls(
            name=kind.name,
            title=kind.title,
            title_fr=kind.title_fr,
            form=kind.form,
            purpose=PURPOSE_BY_EVENT_TYPE[kind.name],
        )


class SitePurposeSet(RequestBody):
    """A declaration of a purpose. What is left out is as null is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    legal_basis: LegalBasis | None = Field(None, description="By what right")
    legal_reference: Name | None = Field(None, description="The law or the decision that it rests on")
    controller: Name | None = Field(
        None, description="Who answers for it; null: the site's organisation. Published"
    )
    contact: Name | None = Field(None, description="Where that one is reached. Published")
    impact_assessment: Name | None = Field(
        None, description="The reference of the data-protection impact assessment"
    )
    notice: Name | None = Field(None, description="Where the notice to the public is")
    description: Description | None = Field(None, description="What it is for, in English. Published")
    description_fr: Description | None = Field(None, description="The same in French. Published")
    open_data: bool = Field(False, description="Whether its figures are published; never of a sensitive one")
    starts_at: Instant | None = Field(
        None, description="Nothing measured before is taken; null: no limit, or its approval"
    )
    ends_at: Instant | None = Field(
        None,
        description="Nothing is taken from then on; null: no end. Five years ahead at most, if sensitive",
    )

    def words(self) -> dict[str, object]:
        """All columns that it sets."""
        return {name: getattr(self, name) for name in _WORDS}


class SitePurposeChange(SitePurposeSet):
    """Changes of a declaration. What is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"contact": "privacy@toulouse.example"}]})

    open_data: Annotated[bool, Field(description="Whether its figures are published")] = (
        make_omittable_field()
    )


class PurposeEnd(RequestBody):
    """When a purpose is to end."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at": "2099-01-01T00:00:00Z"}]})

    at: Instant | None = Field(None, description="A time to come; null: now")


class MissingOut(BaseModel):
    """Something that a sensitive purpose lacks."""

    field: str = Field(description="Which field", examples=["impact_assessment"])
    detail: str = Field(description="What is wrong with it")
    where: str = Field(
        description="Where it is set", examples=["PATCH /v1/sites/{site_id}/purposes/acoustic_safety"]
    )


class SitePurposeOut(ResourceModel):
    """A purpose at a site, as it was declared, and what holds of it now."""

    volatile: ClassVar[frozenset[str]] = frozenset({"state"})

    site_id: UUID = Field(description="Where")
    purpose: PurposeName = Field(description="Which of `GET /v1/purposes`")
    title: str = Field(description="What people call it, in English")
    title_fr: str = Field(description="The same in French")
    sensitive: bool = Field(description="Whether a second person has to approve it")
    metrics: list[str] = Field(description="Metrics that are for it")
    event_types: list[str] = Field(description="Types of events that are for it")
    state: PurposeState = Field(description="Data are taken in the state `active` alone")
    missing: list[MissingOut] = Field(description="What it lacks before it can be approved")
    legal_basis: LegalBasis | None = Field(description="By what right")
    legal_reference: str | None = Field(description="The law or the decision that it rests on")
    controller: str | None = Field(description="Who answers for it; null: the site's organisation")
    contact: str | None = Field(description="Where that one is reached")
    impact_assessment: str | None = Field(description="The reference of the impact assessment")
    notice: str | None = Field(description="Where the notice to the public is")
    description: str | None = Field(description="What it is for, in English")
    description_fr: str | None = Field(description="The same in French")
    open_data: bool = Field(description="Whether its figures are published")
    starts_at: datetime | None = Field(description="Nothing measured before is taken; null: no limit")
    ends_at: datetime | None = Field(description="Nothing is taken from then on; null: no end")
    retention_days: int | None = Field(
        description="For how many days its data are kept, as the site's retention says; null: for ever"
    )
    removes: bool = Field(description="Whether what is older is removed")
    origin: Literal["default", "operator"] | None = Field(
        description="`default`: it came with the site, so that boxes may send; the operator has declared "
        "nothing of it, and nothing is published. `operator`: a person or a key has declared "
        "it. Null: not declared"
    )
    declared_by: UUID | None = Field(description="The person or key that declared it as it is")
    declared_kind: str | None = Field(description="`user`, `key`, or `system`: with the site")
    declared_at: datetime | None = Field(description="When it was declared as it is")
    approved_by: UUID | None = Field(description="The person who approved it")
    approved_at: datetime | None = Field(description="Since when it is approved; null: it is not")

    @classmethod
    def of(cls, site: Site, purpose: Purpose, row: SitePurpose | None, now: datetime) -> "SitePurposeOut":
        """The shape of a purpose at a site, whether it is declared or not."""
        retention = get_retention_settings(site)
        lacking = [] if row is None else find_missing_fields(purpose, row, retention)
        columns = (*_WORDS, "declared_by", "declared_kind", "declared_at", "approved_by", "approved_at")
        said = {name: None if row is None else getattr(row, name) for name in columns}
        return cls(
            site_id=site.id,
            purpose=purpose.name,
            title=purpose.title,
            title_fr=purpose.title_fr,
            sensitive=purpose.sensitive,
            metrics=list(purpose.metrics),
            event_types=list(purpose.events),
            state=compute_purpose_state(purpose, row, retention, now),
            missing=[MissingOut(field=e.field, detail=e.detail, where=e.where) for e in lacking],
            retention_days=retention.days(purpose.name),
            removes=retention.removes,
            origin=None if row is None else ("default" if row.declared_kind == "system" else "operator"),
            **{**said, "open_data": bool(said["open_data"])},
        )
