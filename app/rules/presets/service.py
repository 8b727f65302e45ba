"""Finding presets, and making a site's rules of one. Must not know HTTP.

What a rule keeps of the preset that it was made of: whether it still asks the same, and its name.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.problems import CodedValueError
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, NotFoundError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Site
from app.rules.definitions import service
from app.rules.definitions.condition_leaves import to_stored_json
from app.rules.definitions.models import Rule
from app.rules.definitions.schemas import RuleCreate
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.preset_origin import get_name_separator
from app.rules.presets.preset_types import Language, Preset, PresetRule
from app.rules.presets.schemas import PresetApply

# A scope says where a preset is used, not what it asks.


NAME_LIMIT = 200
PRESET_SITE_KINDS: Final = tuple(sorted({kind for preset in PRESETS.values() for kind in preset.kinds}))
"""The kinds of sites that presets are for."""


def check_site_kind(kind: str) -> str:
    """Check that there are presets for a kind of site (CodedValueError `unknown_kind`)."""
    if kind not in PRESET_SITE_KINDS:
        raise CodedValueError(
            "unknown_kind",
            f"No preset is for {format_rejected_value(kind)} in particular; there are "
            f"{', '.join(PRESET_SITE_KINDS)}",
        )
    return kind


def check_preset(preset_id: str) -> str:
    """Check that there is a preset of this id (CodedValueError `unknown_preset`)."""
    if preset_id not in PRESETS:
        raise CodedValueError(
            "unknown_preset", f"{format_rejected_value(preset_id)} is no preset (GET /v1/rule-presets)"
        )
    return preset_id


def find_preset(preset_id: str) -> Preset:
    """Give a preset (NotFoundError)."""
    preset = PRESETS.get(preset_id)
    if preset is None:
        raise NotFoundError("preset", preset_id)
    return preset


def filter_presets(*, kind: str | None, metric: str | None, on: date | None = None) -> Iterator[Preset]:
    """Yield the presets for a kind of site, those that look at a metric, and those that apply on a day."""
    for preset in PRESETS.values():
        if on is not None and not preset.applies.includes(on):
            continue
        if kind is not None and preset.kinds and kind not in preset.kinds:
            continue
        if metric is None or metric in preset.metrics:
            yield preset


async def apply_preset(
    session: WriteSession,
    principal: Principal,
    preset: Preset,
    wanted: PresetApply,
    *,
    language: Language,
    now: datetime,
) -> list[Rule]:
    """Make a preset's rules at a site, all of them or none.

    Raises:
        NotFoundError: the caller sees no such site.
        ConflictError: `preset_applied`: the site has rules of it already.
        InvalidError: `unknown_box_in_rule`.
    """
    # Of two who apply it at once, the second one waits here and finds the first one's rules.
    site = select(Site.id).where(Site.id == wanted.site_id).with_for_update(key_share=True)
    visible = principal.visible()
    site = site.where(*visible.within(Site.organisation_id, Site.id))
    if await session.scalar(site) is None:
        raise NotFoundError("site", wanted.site_id)
    if not wanted.again:
        await _check_new(session, wanted.site_id, preset)
    origin = {"id": preset.id, "version": preset.version}
    return [
        await service.add_rule(session, principal, _body(preset, rule, wanted, language), now, preset=origin)
        for rule in preset.rules
    ]


async def _check_new(session: WriteSession, site_id: UUID, preset: Preset) -> None:
    query = select(Rule.id).where(
        Rule.site_id == site_id,
        Rule.deleted_at.is_(None),
        Rule.definition["preset"]["id"].astext == preset.id,
    )
    rules = (await session.scalars(query.order_by(Rule.id))).all()
    if rules:
        raise ConflictError(
            "The site has rules of this preset. Change those, or send `again`: true.",
            code="preset_applied",
            extra={"rules": [str(identifier) for identifier in rules]},
        )


def _body(preset: Preset, rule: PresetRule, wanted: PresetApply, language: Language) -> RuleCreate:
    """The rule as it would be sent to `POST /v1/rules`."""
    fields: dict[str, Any] = {
        **rule.body,
        "site_id": wanted.site_id,
        "name": rule.name.to(language),
        "description": preset.advice.to(language),
    }
    for name, value in collect_sent_fields(wanted.overrides).items():
        if name == "name" and len(preset.rules) > 1:
            fields["name"] = f"{value}{get_name_separator(language)} {fields['name']}"[:NAME_LIMIT]
        else:
            fields[name] = to_stored_json(value)
    return RuleCreate.model_validate(fields)
