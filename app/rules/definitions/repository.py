"""Queries on rules. Must not decide anything: what may change, and what follows from it, is the service's.

A deleted rule is kept for its alerts; no query here but `load_changed_rules` finds it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict
from uuid import UUID

import msgspec
from sqlalchemy import Integer, Text, any_, cast, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, JSONPATH

from app.platform.db.database import RawConnection, ReadSession, WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    name_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope
from app.registry.models import Box, Site
from app.registry.repository import contains_ignoring_case
from app.rules.definitions.models import Rule
from app.rules.definitions.severity import rank_severity

_CHANGED = """
SELECT id, version, organisation_id, site_id, name, definition::text AS definition, effort, dry_run, enabled,
       deleted_at IS NOT NULL AS deleted, revision
FROM rules
WHERE revision > $1
ORDER BY id
"""
_ASKS_INDEX = cast("$.levels[*].condition.**.index", JSONPATH)
_LOOKS_AT = cast("$.levels.**.metric ? (@ == $metric)", JSONPATH)


_RANK = literal_column("CASE rules.severity WHEN 'info' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END", Integer)
RULES: Final = SortOrders(
    "rules",
    (uuid_sort_key(Rule.id),),
    {
        "created_at": (),
        "name": (name_sort_key(Rule.name),),
        "updated_at": (instant_sort_key(Rule.updated_at),),
        "severity": (number_sort_key(_RANK, lambda row: rank_severity(row.severity)),),
    },
    "created_at",
)


class ChangedRule(TypedDict):
    """A rule as the pipeline's registry reads it, deleted and disabled ones too."""

    id: UUID
    version: int
    organisation_id: UUID
    site_id: UUID
    name: str
    definition: dict[str, Any]
    effort: int
    dry_run: bool
    enabled: bool
    deleted: bool
    revision: int


@dataclass(frozen=True, slots=True)
class RuleFilter:
    """Which rules a list shows.

    Attributes:
        visible: only what the caller may see.
        site_id: only this site's.
        enabled: only enabled, or only disabled ones.
        dry_run: only those on trial, or only the others.
        severity: only those whose gravest level has this severity.
        metric: only those that look at this metric, anywhere in their conditions.
        preset: only those that were made of this preset.
        organisation_id: only of this organisation.
        search: only those in whose name this occurs, in any case.
    """

    visible: TenantScope = EMPTY_SCOPE
    site_id: UUID | None = None
    enabled: bool | None = None
    dry_run: bool | None = None
    severity: str | None = None
    metric: str | None = None
    preset: str | None = None
    organisation_id: UUID | None = None
    search: str | None = None


async def load_changed_rules(connection: RawConnection, since_revision: int) -> list[ChangedRule]:
    """Read the rules whose revision is greater than `since_revision`, whatever their state."""
    rows = await connection.fetch(_CHANGED, since_revision)
    return [
        ChangedRule(
            id=row["id"],
            version=row["version"],
            organisation_id=row["organisation_id"],
            site_id=row["site_id"],
            name=row["name"],
            # As text: whatever JSON codec the connection has does not matter.
            definition=msgspec.json.decode(row["definition"], type=dict[str, Any]),
            effort=row["effort"],
            dry_run=row["dry_run"],
            enabled=row["enabled"],
            deleted=row["deleted"],
            revision=row["revision"],
        )
        for row in rows
    ]


async def find_rule(session: ReadSession, rule_id: UUID, visible: TenantScope) -> Rule:
    """Read a rule. NotFoundError for a deleted one, or another organisation's."""
    rule = await session.scalar(
        select(Rule).where(Rule.id == rule_id, Rule.deleted_at.is_(None), *_owned(visible))
    )
    if rule is None:
        raise NotFoundError("rule", rule_id)
    return rule


async def lock_rule(session: WriteSession, rule_id: UUID, visible: TenantScope) -> Rule:
    """Read a rule to change it: of two who change it at once, the second waits for the first.

    FOR NO KEY UPDATE leaves batches free to insert alerts that refer to the rule.
    """
    rule = await session.scalar(
        select(Rule)
        .where(Rule.id == rule_id, Rule.deleted_at.is_(None), *_owned(visible))
        .with_for_update(key_share=True)
    )
    if rule is None:
        raise NotFoundError("rule", rule_id)
    return rule


async def read_rule_page(session: ReadSession, wanted: RuleFilter, asked: PageRequest) -> Sequence[Rule]:
    """Read a page of rules, and one more."""
    query = select(Rule).where(Rule.deleted_at.is_(None), *_owned(wanted.visible))
    if wanted.site_id is not None:
        query = query.where(Rule.site_id == wanted.site_id)
    if wanted.enabled is not None:
        query = query.where(Rule.enabled == wanted.enabled)
    if wanted.dry_run is not None:
        query = query.where(Rule.dry_run == wanted.dry_run)
    if wanted.severity is not None:
        query = query.where(Rule.severity == wanted.severity)
    if wanted.metric is not None:
        sought = literal({"metric": wanted.metric}, JSONB())
        query = query.where(func.jsonb_path_exists(Rule.definition, _LOOKS_AT, sought))
    if wanted.preset is not None:
        query = query.where(Rule.definition["preset"]["id"].astext == wanted.preset)
    if wanted.organisation_id is not None:
        query = query.where(Rule.organisation_id == wanted.organisation_id)
    if wanted.search is not None:
        query = query.where(contains_ignoring_case(Rule.name, wanted.search))
    return (await session.scalars(RULES.page(query, asked))).all()


async def find_site_boxes(session: WriteSession, site_id: UUID, named: Collection[str]) -> frozenset[str]:
    """Tell which of these ids are those of boxes of a site."""
    query = select(Box.id).where(
        Box.site_id == site_id, Box.id == any_(literal(list(named), ARRAY(Text))), Box.deleted_at.is_(None)
    )
    return frozenset(await session.scalars(query))


async def sum_rule_efforts(session: WriteSession, site_id: UUID, *, but: UUID | None = None) -> int:
    """Add up the efforts of a site's enabled rules, without one of them."""
    query = select(func.coalesce(func.sum(Rule.effort), 0)).where(
        Rule.site_id == site_id, Rule.enabled, Rule.deleted_at.is_(None)
    )
    if but is not None:
        query = query.where(Rule.id != but)
    return int(await session.scalar(query) or 0)


async def find_index_definitions(
    session: WriteSession, site_id: UUID, *, but: UUID | None = None
) -> Sequence[dict[str, Any]]:
    """Read the definitions of a site's enabled rules on indices, without one of them."""
    query = select(Rule.definition).where(
        Rule.site_id == site_id,
        Rule.enabled,
        Rule.deleted_at.is_(None),
        func.jsonb_path_exists(Rule.definition, _ASKS_INDEX),
    )
    if but is not None:
        query = query.where(Rule.id != but)
    return (await session.scalars(query)).all()


async def find_site_owner(session: WriteSession, site_id: UUID, visible: TenantScope) -> UUID | None:
    """Tell whose a site is; None where the caller sees no such site. It stays until the transaction ends."""
    query = select(Site.organisation_id).where(Site.id == site_id)
    query = query.where(*visible.within(Site.organisation_id, Site.id))
    owner: UUID | None = await session.scalar(query.with_for_update(read=True, key_share=True))
    return owner


def _owned(visible: TenantScope) -> tuple[Any, ...]:
    return visible.within(Rule.organisation_id, Rule.site_id)
