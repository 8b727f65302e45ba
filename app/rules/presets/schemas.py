"""Defines the request and response bodies of rule presets (ready-made rules)."""

from datetime import date
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Identifier, Name, RequestBody, make_omittable_field
from app.presentation.languages import Language
from app.rules.definitions.rule_in_words import describe_rule
from app.rules.definitions.rule_response_schemas import RuleOut
from app.rules.definitions.schemas import Active, DryRun, Scoped
from app.rules.presets.preset_list import build_definitions
from app.rules.presets.preset_types import Preset

_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"


class CitationOut(BaseModel):
    """The source of the thresholds of a preset."""

    document: str
    article: str | None
    url: str | None
    unverified: bool = Field(
        description="Vigie's authors did not read the source, or not its present wording. Check it"
    )


class PresetRuleOut(BaseModel):
    """A rule of a preset."""

    name: str
    sentence: str = Field(
        description="When it fires, in words and in the requested language",
        examples=["Warning when the mean of PM2.5 over 24 hours is above 15 µg/m³."],
    )
    rule: dict[str, Any] = Field(description="The other fields of a body of `POST /v1/rules`, without a site")


class PresetOut(ResourceModel):
    """Predefined rules for a purpose."""

    id: str = Field(examples=["who-pm2-5-24h"])
    version: int = Field(description="Increases with each change of its rules")
    language: Language
    title: str = Field(description="The preset's title, in the requested language")
    description: str = Field(description="What its rules detect, and what they cannot show")
    advice: str = Field(description="What to do when it fires. It becomes the description of its rules")
    citation: CitationOut | None = Field(description="Null if Vigie's authors chose the thresholds")
    kinds: list[str] = Field(description="The kinds of site that it suits. Empty: any kind")
    metrics: list[str]
    applies_from: date | None = Field(
        description="The first day on which its thresholds are law. Null if unknown or not law",
        examples=["2026-12-12"],
    )
    applies_until: date | None = Field(
        description="The first day on which its thresholds are no longer law. Null if no end is known"
    )
    rules: list[PresetRuleOut]

    @classmethod
    def of(cls, preset: Preset, language: Language) -> Self:
        """Convert a preset, in one language."""
        citation = preset.citation
        return cls(
            id=preset.id,
            version=preset.version,
            language=language,
            title=preset.title.to(language),
            description=preset.description.to(language),
            advice=preset.advice.to(language),
            citation=None
            if citation is None
            else CitationOut(
                document=citation.document,
                article=citation.article,
                url=citation.url,
                unverified=citation.unverified,
            ),
            kinds=list(preset.kinds),
            metrics=list(preset.metrics),
            applies_from=preset.applies.first,
            applies_until=preset.applies.end,
            rules=[
                PresetRuleOut(
                    name=rule.name.to(language),
                    sentence=describe_rule(definition, language),
                    rule=dict(rule.body),
                )
                for rule, definition in zip(preset.rules, build_definitions(preset.id), strict=True)
            ],
        )


class PresetOverrides(RequestBody):
    """Fields that replace those of the preset in its rules. Omitted fields stay as in the preset."""

    name: Annotated[Name, Field(description="The name. With several rules, a prefix of each name")] = (
        make_omittable_field()
    )
    scope: Scoped = make_omittable_field()
    active: Active = make_omittable_field()
    enabled: bool = make_omittable_field()
    dry_run: DryRun = make_omittable_field()


class PresetApply(RequestBody):
    """The site to apply a preset to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"site_id": _SITE},
                {"site_id": _SITE, "overrides": {"scope": {"tags": ["school"]}, "dry_run": True}},
            ]
        }
    )

    site_id: Annotated[Identifier, Field(description="The site at which the rules are created")]
    overrides: PresetOverrides = PresetOverrides()
    again: Annotated[
        bool, Field(description="Create the rules even if the site already has rules of this preset")
    ] = False


class PresetApplied(BaseModel):
    """The rules that were created."""

    rules: list[RuleOut]
