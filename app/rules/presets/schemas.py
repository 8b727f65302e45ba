"""The shapes of presets on the wire."""

from datetime import date
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Identifier, Name, RequestBody, make_omittable_field
from app.rules.definitions.schemas import Active, DryRun, Scoped
from app.rules.definitions.stored_rule_schemas import RuleOut
from app.rules.presets.preset_types import Language, Preset

_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"


class CitationOut(BaseModel):
    """Where the numbers of a preset are from."""

    document: str
    article: str | None
    url: str | None
    unverified: bool = Field(
        description="The text, or its present wording, was not read: check it before relying on it"
    )


class PresetRuleOut(BaseModel):
    """A rule that a preset makes."""

    name: str
    rule: dict[str, Any] = Field(description="The other fields of a body of `POST /v1/rules`, without a site")


class PresetOut(ResourceModel):
    """Rules for a purpose, ready to be used at a site."""

    id: str = Field(examples=["who-pm2-5-24h"])
    version: int = Field(description="Counts up with each change of its rules")
    language: Language
    title: str
    description: str = Field(description="What it watches, and what it does not say")
    advice: str = Field(description="What to do when it fires; becomes the description of its rules")
    citation: CitationOut | None = Field(description="Null where the numbers are a choice of ours")
    kinds: list[str] = Field(description="Kinds of site that it is for; empty: any")
    metrics: list[str]
    applies_from: date | None = Field(
        description="The first day on which its numbers are law; null where no such day is known or meant",
        examples=["2026-12-12"],
    )
    applies_until: date | None = Field(
        description="The first day on which its numbers are no longer law; null where no end is known"
    )
    rules: list[PresetRuleOut]

    @classmethod
    def of(cls, preset: Preset, language: Language) -> Self:
        """The shape of a preset, in one language."""
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
            rules=[PresetRuleOut(name=rule.name.to(language), rule=dict(rule.body)) for rule in preset.rules],
        )


class PresetOverrides(RequestBody):
    """What of a preset's rules is to be otherwise. What is left out stays as the preset has it."""

    name: Annotated[Name, Field(description="With several rules: goes before the name of each")] = (
        make_omittable_field()
    )
    scope: Scoped = make_omittable_field()
    active: Active = make_omittable_field()
    enabled: bool = make_omittable_field()
    dry_run: DryRun = make_omittable_field()


class PresetApply(RequestBody):
    """Where to use a preset."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"site_id": _SITE},
                {"site_id": _SITE, "overrides": {"scope": {"tags": ["school"]}, "dry_run": True}},
            ]
        }
    )

    site_id: Annotated[Identifier, Field(description="The rules are made at this site")]
    overrides: PresetOverrides = PresetOverrides()
    again: Annotated[
        bool, Field(description="Make the rules once more where the site has some of this preset already")
    ] = False


class PresetApplied(BaseModel):
    """The rules that were made."""

    rules: list[RuleOut]
