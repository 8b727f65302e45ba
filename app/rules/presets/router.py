"""Serves `/v1/rule-presets`: lists and reads rule presets, and creates rules from them."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel

from app.platform.http.contract.fields import DateParameter, SiteKind
from app.platform.http.contract.session_dependencies import WriteSessionDep
from app.presentation.languages import Language
from app.rules.definitions.condition_fields import MetricName
from app.rules.definitions.router import Reader, RuleRoute, Writer
from app.rules.definitions.rule_response_schemas import RuleOut
from app.rules.presets import service
from app.rules.presets.schemas import PresetApplied, PresetApply, PresetOut

router = APIRouter(prefix="/v1/rule-presets", tags=["Rules"], route_class=RuleRoute)

LanguageQuery = Annotated[Language, Query(description="The language of titles, names and texts")]
_ENGLISH: Final = "en"


class PresetList(BaseModel):
    """All matching presets, in a single page."""

    data: list[PresetOut]
    next: None = None


def _site_kind(kind: str | None) -> str | None:
    return None if kind is None else service.check_site_kind(kind)


@router.get("", summary="List presets of rules")
async def list_rule_presets(
    _: Reader,
    kind: Annotated[
        SiteKind | None,
        AfterValidator(_site_kind),
        Query(
            description="Only presets for this kind of site, or for any kind",
            examples=[*service.PRESET_SITE_KINDS],
            json_schema_extra={"enum": [*service.PRESET_SITE_KINDS]},
        ),
    ] = None,
    metric: Annotated[MetricName | None, Query(description="Only presets that use this metric")] = None,
    on: Annotated[
        DateParameter | None,
        Query(
            description="Only presets with thresholds that apply on this day. Default: all presets",
            examples=["2026-12-12"],
        ),
    ] = None,
    language: LanguageQuery = _ENGLISH,
) -> PresetList:
    """List predefined rules for guidelines, limit values, comfort and the health of boxes.

    Each preset cites the source of its thresholds. An applied preset makes ordinary rules.
    """
    found = service.filter_presets(kind=kind, metric=metric, on=on)
    return PresetList(data=[PresetOut.of(preset, language) for preset in found])


@router.get("/{preset_id}", summary="Read a preset")
async def get_rule_preset(_: Reader, preset_id: str, language: LanguageQuery = _ENGLISH) -> PresetOut:
    """Read a preset with its rules."""
    return PresetOut.of(service.find_preset(preset_id), language)


@router.post("/{preset_id}/apply", status_code=201, summary="Apply a preset to a site")
async def apply_rule_preset(
    principal: Writer,
    session: WriteSessionDep,
    preset_id: str,
    body: PresetApply,
    language: LanguageQuery = _ENGLISH,
) -> PresetApplied:
    """Create the rules of a preset at a site: all of them or none.

    Each rule names its `preset`. `preset_modified` becomes true if you change the rule later. If the site
    already has rules of this preset, the request is refused with 409 `preset_applied`, unless `again` is
    true.
    """
    made = await service.apply_preset(
        session, principal, service.find_preset(preset_id), body, language=language, now=datetime.now(UTC)
    )
    return PresetApplied(rules=[RuleOut.of(rule) for rule in made])
