"""Defines the JSON shapes of rules in responses.

Stored conditions are returned unchanged, even if the limits for new rules have changed since.
"""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.platform.http.contract.etags import ResourceModel
from app.rules.definitions.condition_schemas import Condition
from app.rules.definitions.models import Rule, RuleVersion
from app.rules.definitions.rule_in_words import describe_rule
from app.rules.definitions.schemas import Active, Escalation, Level, RuleCreate, Scoped
from app.rules.definitions.severity import Severity
from app.rules.presets.preset_list import is_preset_modified


class PresetOrigin(BaseModel):
    """The preset that a rule was made from. The rule may have changed since."""

    id: str
    version: int


class _AsStored:
    """Serialises a field as it is stored, and documents it by the type of requests.

    So a stored rule stays readable whatever limits apply to new rules.
    """

    def __init__(self, documented_type: object) -> None:
        self.documented_type = documented_type

    def __get_pydantic_core_schema__(self, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda value, _: value,
            handler.generate_schema(self.documented_type),
            serialization=core_schema.wrap_serializer_function_ser_schema(lambda value, _: value),
        )


class _Defined(BaseModel):
    """The fields of a definition in rules and their versions."""

    name: str
    description: str | None
    severity: Severity = Field(description="The highest severity of its levels")
    condition: Annotated[dict[str, Any] | None, _AsStored(Condition | None)] = Field(
        description="Null if the rule has levels"
    )
    levels: Annotated[list[Any] | None, _AsStored(list[Level] | None)] = Field(
        description="Null if the rule has one condition"
    )
    scope: Annotated[dict[str, Any] | None, _AsStored(Scoped)]
    active: Annotated[list[Any] | None, _AsStored(Active)]
    max_age: str
    escalations: Annotated[list[Any], _AsStored(list[Escalation])]
    remind_every: str | None
    preset: PresetOrigin | None = Field(description="Null for a rule without a preset")
    enabled: bool
    dry_run: bool
    sentence: str = Field(
        description="When it fires, in words",
        examples=["Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³."],
    )
    sentence_fr: str = Field(
        description="The same in French",
        examples=["Avertissement : PM2,5 au-dessus de 25 µg/m³ pendant 10 minutes."],
    )


def _render_definition(definition: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    levels = definition["levels"]
    single = len(levels) == 1
    return {
        "severity": levels[-1]["severity"],
        "condition": levels[0]["condition"] if single else None,
        "levels": None if single else levels,
        "scope": definition["scope"],
        "active": definition["active"],
        "max_age": definition["max_age"],
        "escalations": definition["escalations"],
        "remind_every": definition["remind_every"],
        "preset": definition.get("preset"),
        "sentence": describe_rule(definition, "en", dry_run=dry_run),
        "sentence_fr": describe_rule(definition, "fr", dry_run=dry_run),
    }


class _Identified(BaseModel):
    """The identity of a rule."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    version: int = Field(description="Increases with each change. Alerts name the version that fired")


class RuleOut(_Defined, _Identified, ResourceModel):
    """A rule of a site."""

    preset_modified: bool = Field(
        description="Whether its levels, hours, `max_age`, escalations or reminders differ from those of its "
        "preset now. Its name, texts and `scope` do not count"
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Rule) -> Self:
        """Convert a row."""
        names = (
            "id",
            "organisation_id",
            "site_id",
            "name",
            "description",
            "enabled",
            "dry_run",
            "version",
            "created_at",
            "updated_at",
        )
        return cls(
            **{name: getattr(row, name) for name in names},
            **_render_definition(row.definition, dry_run=row.dry_run),
            preset_modified=is_preset_modified(row.definition),
        )


class RuleCheckOut(_Defined):
    """A rule that could be stored, as it would be stored: with all defaults, and in words."""

    @classmethod
    def of(cls, body: RuleCreate, definition: dict[str, Any]) -> Self:
        """Describe a rule that was checked, with the definition that it would have."""
        names = ("name", "description", "enabled", "dry_run")
        return cls(
            **{name: getattr(body, name) for name in names},
            **_render_definition(definition, dry_run=body.dry_run),
        )


class _Numbered(BaseModel):
    """The identity of a version of a rule."""

    rule_id: UUID
    version: int


class RuleVersionOut(_Defined, _Numbered, ResourceModel):
    """A version of a rule: its state from one change to the next."""

    deleted: bool = Field(description="Whether this change deleted the rule")
    created_at: datetime = Field(description="The time of the change")
    created_by: UUID | None = Field(
        description="The API key that made the change; null if it was not recorded"
    )
    created_by_name: str | None = Field(
        description="The present name of this key; null if the key no longer exists"
    )

    @classmethod
    def of(cls, row: RuleVersion, changed_by: str | None) -> Self:
        """Convert a row, with the name of the key that made the change."""
        names = (
            "rule_id",
            "version",
            "name",
            "description",
            "enabled",
            "dry_run",
            "deleted",
            "created_at",
            "created_by",
        )
        return cls(
            **{name: getattr(row, name) for name in names},
            **_render_definition(row.definition, dry_run=row.dry_run),
            created_by_name=changed_by,
        )
