"""Defines the JSON schemas of purposes, event types, and a site's declarations."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.catalogue.device_event_types import EventForm, EventType
from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, Purpose, PurposeName
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, Instant, Name, RequestBody, make_omittable_field
from app.registry.models import Site, SitePurpose
from app.registry.purpose_service import get_purpose, get_retention_settings
from app.registry.purpose_states import LegalBasis, PurposeState, compute_purpose_state, find_missing_fields

REQUIRED: Final = (
    *("legal_basis", "legal_reference", "controller", "contact", "impact_assessment", "notice"),
    *("description", "ends_at", "retention"),
)
"""The required fields of a sensitive purpose; `retention` is set at the site."""
_DECLARED_FIELDS: Final = (
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

    name: PurposeName = Field(description="Name in paths and settings")
    title: str = Field(description="Title in English")
    title_fr: str = Field(description="Title in French")
    sensitive: bool = Field(
        description="Whether it needs every field of `required`, and the approval of a second person. Each "
        "new site declares the other purposes by default"
    )
    metrics: list[str] = Field(description="Metrics that belong to it")
    event_types: list[str] = Field(description="Event types that belong to it")
    required: list[str] = Field(
        description="Fields that must be declared; `retention` is set by `PUT /v1/sites/{site_id}/retention`"
    )

    @classmethod
    def of(cls, purpose: Purpose) -> "PurposeOut":
        """Build the response from a purpose of the catalogue."""
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
    """A type of events that boxes and gateways can report."""

    name: str = Field(description="The `type` in messages", examples=["gunshot"])
    title: str = Field(description="Title in English")
    title_fr: str = Field(description="Title in French")
    form: EventForm = Field(
        description="Fields besides `time` and `seq`. `recognised`: candidates, level_db, spectrum, "
        "clock_error_ms; `plain`: none; `count`: count; `state`: state"
    )
    purpose: PurposeName = Field(description="The purpose that it belongs to")

    @classmethod
    def of(cls, kind: EventType) -> "CatalogueEventOut":
        """Build the response from an event type of the catalogue."""
        return cls(
            name=kind.name,
            title=kind.title,
            title_fr=kind.title_fr,
            form=kind.form,
            purpose=PURPOSE_BY_EVENT_TYPE[kind.name],
        )


class SitePurposeSet(RequestBody):
    """A declaration of a purpose. A field that is left out is null."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    legal_basis: LegalBasis | None = Field(None, description="Legal basis (GDPR, article 6, or another law)")
    legal_reference: Name | None = Field(None, description="The law or the decision that it is based on")
    controller: Name | None = Field(
        None, description="The controller (GDPR); null: the site's organisation. Published"
    )
    contact: Name | None = Field(None, description="Contact of the controller. Published")
    impact_assessment: Name | None = Field(
        None, description="Reference of the data-protection impact assessment"
    )
    notice: Name | None = Field(None, description="Location of the public notice")
    description: Description | None = Field(None, description="The purpose in words, in English. Published")
    description_fr: Description | None = Field(None, description="The purpose in words, in French. Published")
    open_data: bool = Field(
        False, description="Whether its data are published; must be false for a sensitive purpose"
    )
    starts_at: Instant | None = Field(
        None, description="Earlier measurements are refused; null: no limit, or the time of the approval"
    )
    ends_at: Instant | None = Field(
        None,
        description="All data are refused from then on; null: no end. If sensitive, at most five years ahead",
    )

    def column_values(self) -> dict[str, object]:
        """Collect the values of all declared columns."""
        return {name: getattr(self, name) for name in _DECLARED_FIELDS}


class SitePurposeChange(SitePurposeSet):
    """Changes of a declaration. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"contact": "privacy@toulouse.example"}]})

    open_data: Annotated[bool, Field(description="Whether its data are published")] = make_omittable_field()


class PurposeEnd(RequestBody):
    """The end of a purpose."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at": "2099-01-01T00:00:00Z"}]})

    at: Instant | None = Field(None, description="A future time; null: now")


class MissingOut(BaseModel):
    """A missing or invalid field of a sensitive purpose."""

    field: str = Field(description="Name of the field", examples=["impact_assessment"])
    detail: str = Field(description="The fault")
    where: str = Field(
        description="The request that sets it",
        examples=["PATCH /v1/sites/{site_id}/purposes/acoustic_safety"],
    )


class SitePurposeOut(ResourceModel):
    """A purpose at a site: its declaration and its present state."""

    volatile: ClassVar[frozenset[str]] = frozenset({"state"})

    site_id: UUID = Field(description="The site")
    purpose: PurposeName = Field(description="Name in `GET /v1/purposes`")
    title: str = Field(description="Title in English")
    title_fr: str = Field(description="Title in French")
    sensitive: bool = Field(description="Whether a second person must approve it")
    metrics: list[str] = Field(description="Metrics that belong to it")
    event_types: list[str] = Field(description="Event types that belong to it")
    state: PurposeState = Field(description="Data are accepted only in the state `active`")
    missing: list[MissingOut] = Field(description="Fields that must be set before it can be approved")
    legal_basis: LegalBasis | None = Field(description="Legal basis (GDPR, article 6, or another law)")
    legal_reference: str | None = Field(description="The law or the decision that it is based on")
    controller: str | None = Field(description="The controller (GDPR); null: the site's organisation")
    contact: str | None = Field(description="Contact of the controller")
    impact_assessment: str | None = Field(description="Reference of the impact assessment")
    notice: str | None = Field(description="Location of the public notice")
    description: str | None = Field(description="The purpose in words, in English")
    description_fr: str | None = Field(description="The purpose in words, in French")
    open_data: bool = Field(description="Whether its data are published")
    starts_at: datetime | None = Field(description="Earlier measurements are refused; null: no limit")
    ends_at: datetime | None = Field(description="All data are refused from then on; null: no end")
    retention_days: int | None = Field(
        description="Days for which its data are stored, by the site's retention; null: for ever"
    )
    removes: bool = Field(description="Whether older data are removed")
    origin: Literal["default", "operator"] | None = Field(
        description="`default`: the new site declared it, so that boxes can send; it has no details, and "
        "nothing is published. `operator`: a person or a key declared it. Null: not declared"
    )
    declared_by: UUID | None = Field(description="The person or key of the present declaration")
    declared_kind: str | None = Field(description="`user`, `key`, or `system` (declared with the site)")
    declared_at: datetime | None = Field(description="Time of the present declaration")
    approved_by: UUID | None = Field(description="The person who approved it")
    approved_at: datetime | None = Field(description="Time of the approval; null: not approved")

    @classmethod
    def of(cls, site: Site, purpose: Purpose, row: SitePurpose | None, now: datetime) -> "SitePurposeOut":
        """Build the response for a purpose at a site.

        Args:
            site: The site.
            purpose: The purpose of the catalogue.
            row: Its declaration; None: not declared.
            now: The time, which decides the state.
        """
        retention = get_retention_settings(site)
        missing = [] if row is None else find_missing_fields(purpose, row, retention)
        columns = (
            *_DECLARED_FIELDS,
            "declared_by",
            "declared_kind",
            "declared_at",
            "approved_by",
            "approved_at",
        )
        declared = {name: None if row is None else getattr(row, name) for name in columns}
        return cls(
            site_id=site.id,
            purpose=purpose.name,
            title=purpose.title,
            title_fr=purpose.title_fr,
            sensitive=purpose.sensitive,
            metrics=list(purpose.metrics),
            event_types=list(purpose.events),
            state=compute_purpose_state(purpose, row, retention, now),
            missing=[MissingOut(field=e.field, detail=e.detail, where=e.where) for e in missing],
            retention_days=retention.days(purpose.name),
            removes=retention.removes,
            origin=None if row is None else ("default" if row.declared_kind == "system" else "operator"),
            **{**declared, "open_data": bool(declared["open_data"])},
        )


class DeclaredPurposeOut(SitePurposeOut):
    """A declared purpose in the list of all sites, with its site."""

    site_name: str = Field(description="Name of the site")
    timezone: str = Field(description="Time zone of the site")

    @classmethod
    def of_site(cls, site: Site, row: SitePurpose, now: datetime) -> "DeclaredPurposeOut":
        """Build the response for a declaration; the arguments are those of `of`."""
        shown = SitePurposeOut.of(site, get_purpose(row.purpose), row, now)
        return cls(**shown.model_dump(), site_name=site.name, timezone=site.timezone)
