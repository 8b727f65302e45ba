"""Finds presets (predefined sets of rules), and creates their rules at a site."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from app.platform.db.database import WriteSession
from app.platform.http.contract.fields import collect_sent_fields
from app.platform.http.contract.problems import CodedValueError
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, NotFoundError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.presentation.languages import Language
from app.registry.models import Site
from app.rules.definitions import service
from app.rules.definitions.condition_leaves import to_stored_json
from app.rules.definitions.models import Rule
from app.rules.definitions.schemas import RuleCreate
from app.rules.presets.preset_list import PRESETS, get_name_separator
from app.rules.presets.preset_types import Preset, PresetRule
from app.rules.presets.schemas import PresetApply

NAME_LIMIT: Final = 200
PRESET_SITE_KINDS: Final = tuple(sorted({kind for preset in PRESETS.values() for kind in preset.kinds}))
"""The kinds of site with presets of their own."""


def check_site_kind(kind: str) -> str:
    """Check that a kind of site has presets (CodedValueError `unknown_kind`)."""
    if kind not in PRESET_SITE_KINDS:
        raise CodedValueError(
            "unknown_kind",
            f"No preset is for the kind {format_rejected_value(kind)}. The kinds are "
            f"{', '.join(PRESET_SITE_KINDS)}",
        )
    return kind


def check_preset(preset_id: str) -> str:
    """Check that a preset exists (CodedValueError `unknown_preset`)."""
    if preset_id not in PRESETS:
        raise CodedValueError(
            "unknown_preset",
            f"{format_rejected_value(preset_id)} is not a preset. `GET /v1/rule-presets` lists them",
        )
    return preset_id


def find_preset(preset_id: str) -> Preset:
    """Find a preset by its id (NotFoundError)."""
    preset = PRESETS.get(preset_id)
    if preset is None:
        raise NotFoundError("preset", preset_id)
    return preset


def filter_presets(*, kind: str | None, metric: str | None, on: date | None = None) -> Iterator[Preset]:
    """Yield the presets for a kind of site that use a metric and apply on a day. None does not filter."""
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
    body: PresetApply,
    *,
    language: Language,
    now: datetime,
) -> list[Rule]:
    """Create the rules of a preset at a site, all of them or none.

    Args:
        session: of the transaction.
        principal: the caller.
        preset: the preset.
        body: the site, and fields to override.
        language: the language of names and descriptions.
        now: the time of the creation.

    Raises:
        NotFoundError: the caller cannot see such a site.
        ConflictError: `preset_applied` if the site already has rules of the preset.
        InvalidError: `unknown_box_in_rule`.
    """
    # The lock serialises concurrent requests: the second one finds the rules of the first one.
    site = select(Site.id).where(Site.id == body.site_id).with_for_update(key_share=True)
    visible = principal.visible()
    site = site.where(*visible.within(Site.organisation_id, Site.id))
    if await session.scalar(site) is None:
        raise NotFoundError("site", body.site_id)
    if not body.again:
        await _check_not_applied(session, body.site_id, preset)
    origin = {"id": preset.id, "version": preset.version}
    return [
        await service.add_rule(
            session, principal, _build_rule(preset, rule, body, language), now, preset=origin
        )
        for rule in preset.rules
    ]


async def _check_not_applied(session: WriteSession, site_id: UUID, preset: Preset) -> None:
    query = select(Rule.id).where(
        Rule.site_id == site_id,
        Rule.deleted_at.is_(None),
        Rule.definition["preset"]["id"].astext == preset.id,
    )
    rules = (await session.scalars(query.order_by(Rule.id))).all()
    if rules:
        raise ConflictError(
            "The site already has rules of this preset. Change those, or send `again`: true.",
            code="preset_applied",
            extra={"rules": [str(identifier) for identifier in rules]},
        )


def _build_rule(preset: Preset, rule: PresetRule, body: PresetApply, language: Language) -> RuleCreate:
    """Build the body of `POST /v1/rules` for a rule of a preset."""
    fields: dict[str, Any] = {
        **rule.body,
        "site_id": body.site_id,
        "name": rule.name.to(language),
        "description": preset.advice.to(language),
    }
    for name, value in collect_sent_fields(body.overrides).items():
        if name == "name" and len(preset.rules) > 1:
            fields["name"] = f"{value}{get_name_separator(language)} {fields['name']}"[:NAME_LIMIT]
        else:
            fields[name] = to_stored_json(value)
    return RuleCreate.model_validate(fields)
