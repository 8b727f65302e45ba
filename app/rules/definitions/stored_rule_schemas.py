"""The shapes of rules in answers: as they are stored, whatever may be sent by now."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.platform.http.contract.etags import ResourceModel
from app.rules.definitions.condition_schemas import Condition
from app.rules.definitions.models import Rule, RuleVersion
from app.rules.definitions.schemas import Active, Escalation, Level, Scoped
from app.rules.definitions.severity import Severity
from app.rules.presets.preset_origin import is_preset_modified


class PresetOrigin(BaseModel):
    """The preset that a rule was made of; the rule may have changed since."""

    id: str
    version: int


class _AsStored:
    """A field of an answer that is given as it is stored, and described by the type that it was checked by.

    What was once taken can be read for ever, whatever the limits for new rules are by then.
    """

    def __init__(self, described: object) -> None:
        self.described = described

    def __get_pydantic_core_schema__(self, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda value, _: value,
            handler.generate_schema(self.described),
            serialization=core_schema.wrap_serializer_function_ser_schema(lambda value, _: value),
        )


class _Defined(BaseModel):
    """What rules and their versions show of a definition."""

    name: str
    description: str | None
    severity: Severity = Field(description="Of a ladder: the gravest")
    condition: Annotated[dict[str, Any] | None, _AsStored(Condition | None)] = Field(
        description="Null for a ladder"
    )
    levels: Annotated[list[Any] | None, _AsStored(list[Level] | None)] = Field(
        description="Null where there is one condition"
    )
    scope: Annotated[dict[str, Any] | None, _AsStored(Scoped)]
    active: Annotated[list[Any] | None, _AsStored(Active)]
    max_age: str
    escalations: Annotated[list[Any], _AsStored(list[Escalation])]
    remind_every: str | None
    preset: PresetOrigin | None = Field(description="Null for a rule that was made by hand")
    enabled: bool
    dry_run: bool


def _shown(definition: dict[str, Any]) -> dict[str, Any]:
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
    }


class _Identified(BaseModel):
    """Which rule an answer is about."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    version: int = Field(description="Counts up with each change; alerts name the one they fired under")


class RuleOut(_Defined, _Identified, ResourceModel):
    """What is watched at a site, and what follows."""

    preset_modified: bool = Field(
        description="Whether it asks something else than its preset makes now: other levels, hours, "
        "`max_age`, escalations or reminders. Its name, texts and `scope` do not count"
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Rule) -> Self:
        """The shape of a row."""
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
            **_shown(row.definition),
            preset_modified=is_preset_modified(row.definition),
        )


class _Numbered(BaseModel):
    """Which version of a rule an answer is about."""

    rule_id: UUID
    version: int


class RuleVersionOut(_Defined, _Numbered, ResourceModel):
    """A rule as it was from one change to the next."""

    deleted: bool = Field(description="Whether the rule was deleted by this change")
    created_at: datetime = Field(description="When it was changed to this")
    created_by: UUID | None = Field(
        description="The API key that changed it; null where nobody wrote it down"
    )
    created_by_name: str | None = Field(
        description="What this key is called now; null where there is no such key any more"
    )

    @classmethod
    def of(cls, row: RuleVersion, changed_by: str | None) -> Self:
        """The shape of a row, with the name of the key that changed it."""
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
            **_shown(row.definition),
            created_by_name=changed_by,
        )
