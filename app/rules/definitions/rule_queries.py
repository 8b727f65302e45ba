"""Reads and locks rules in SQL. The service decides on changes.

Deleted rules stay in the table for their alerts; only `load_changed_rules` finds them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict
from uuid import UUID

import asyncpg
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
from app.registry.organisation_repository import contains_ignoring_case
from app.rules.definitions.models import Rule
from app.rules.definitions.severity import rank_severity

_CHANGED = """
SELECT id, version, organisation_id, site_id, name, definition::text AS definition, effort, dry_run, enabled,
       deleted_at IS NOT NULL AS deleted, revision
FROM rules
WHERE revision > $1
ORDER BY id
"""
_INDEX_PATH = cast("$.levels[*].condition.**.index", JSONPATH)
_METRIC_PATH = cast("$.levels.**.metric ? (@ == $metric)", JSONPATH)


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
_DESCRIPTIONS: Final = """
SELECT id, description, now() AS clock FROM rules
WHERE id = ANY ($1::uuid[]) AND enabled AND deleted_at IS NULL
"""


class ChangedRule(TypedDict):
    """A rule as the registry snapshot of the pipeline reads it. It may be deleted or disabled."""

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
    """The filters of a list of rules; None does not filter.

    Attributes:
        visible: the tenant scope of the caller.
        site_id: rules of this site.
        enabled: enabled rules, or disabled ones.
        dry_run: rules in a dry run, or the others.
        severity: rules with this highest severity.
        metric: rules that use this metric anywhere in their conditions.
        preset: rules made from this preset.
        organisation_id: rules of this organisation.
        search: rules with this text in their name, ignoring case.
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
    """Read the rules with a revision above `since_revision`, deleted and disabled ones included."""
    rows = await connection.fetch(_CHANGED, since_revision)
    return [
        ChangedRule(
            id=row["id"],
            version=row["version"],
            organisation_id=row["organisation_id"],
            site_id=row["site_id"],
            name=row["name"],
            # Selected as text, so that the JSON codec of the connection does not matter.
            definition=msgspec.json.decode(row["definition"], type=dict[str, Any]),
            effort=row["effort"],
            dry_run=row["dry_run"],
            enabled=row["enabled"],
            deleted=row["deleted"],
            revision=row["revision"],
        )
        for row in rows
    ]


async def read_rule_descriptions(connection: RawConnection, rule_ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """Read the descriptions of enabled rules, with the database's clock."""
    return await connection.fetch(_DESCRIPTIONS, rule_ids)


async def find_rule(session: ReadSession | WriteSession, rule_id: UUID, visible: TenantScope) -> Rule:
    """Read a rule (NotFoundError for a deleted one or one outside of the tenant scope)."""
    rule = await session.scalar(
        select(Rule).where(Rule.id == rule_id, Rule.deleted_at.is_(None), *_owned(visible))
    )
    if rule is None:
        raise NotFoundError("rule", rule_id)
    return rule


async def lock_rule(session: WriteSession, rule_id: UUID, visible: TenantScope) -> Rule:
    """Read and lock a rule, so that concurrent changes wait for each other (NotFoundError).

    FOR NO KEY UPDATE lets batches insert alerts that refer to the rule.
    """
    rule = await session.scalar(
        select(Rule)
        .where(Rule.id == rule_id, Rule.deleted_at.is_(None), *_owned(visible))
        .with_for_update(key_share=True)
    )
    if rule is None:
        raise NotFoundError("rule", rule_id)
    return rule


async def read_rule_page(session: ReadSession, rule_filter: RuleFilter, page: PageRequest) -> Sequence[Rule]:
    """Read a page of rules, and one row more."""
    query = select(Rule).where(Rule.deleted_at.is_(None), *_owned(rule_filter.visible))
    if rule_filter.site_id is not None:
        query = query.where(Rule.site_id == rule_filter.site_id)
    if rule_filter.enabled is not None:
        query = query.where(Rule.enabled == rule_filter.enabled)
    if rule_filter.dry_run is not None:
        query = query.where(Rule.dry_run == rule_filter.dry_run)
    if rule_filter.severity is not None:
        query = query.where(Rule.severity == rule_filter.severity)
    if rule_filter.metric is not None:
        metric_filter = literal({"metric": rule_filter.metric}, JSONB())
        query = query.where(func.jsonb_path_exists(Rule.definition, _METRIC_PATH, metric_filter))
    if rule_filter.preset is not None:
        query = query.where(Rule.definition["preset"]["id"].astext == rule_filter.preset)
    if rule_filter.organisation_id is not None:
        query = query.where(Rule.organisation_id == rule_filter.organisation_id)
    if rule_filter.search is not None:
        query = query.where(contains_ignoring_case(Rule.name, rule_filter.search))
    return (await session.scalars(RULES.page(query, page))).all()


async def find_site_boxes(session: WriteSession, site_id: UUID, named: Collection[str]) -> frozenset[str]:
    """Find which of these ids belong to boxes of a site."""
    query = select(Box.id).where(
        Box.site_id == site_id, Box.id == any_(literal(list(named), ARRAY(Text))), Box.deleted_at.is_(None)
    )
    return frozenset(await session.scalars(query))


async def sum_rule_efforts(session: WriteSession, site_id: UUID, *, but: UUID | None = None) -> int:
    """Add up the efforts of the enabled rules of a site, except the rule `but`."""
    query = select(func.coalesce(func.sum(Rule.effort), 0)).where(
        Rule.site_id == site_id, Rule.enabled, Rule.deleted_at.is_(None)
    )
    if but is not None:
        query = query.where(Rule.id != but)
    return int(await session.scalar(query) or 0)


async def find_index_definitions(
    session: WriteSession, site_id: UUID, *, but: UUID | None = None
) -> Sequence[dict[str, Any]]:
    """Read the definitions of the enabled rules on indices of a site, except the rule `but`."""
    query = select(Rule.definition).where(
        Rule.site_id == site_id,
        Rule.enabled,
        Rule.deleted_at.is_(None),
        func.jsonb_path_exists(Rule.definition, _INDEX_PATH),
    )
    if but is not None:
        query = query.where(Rule.id != but)
    return (await session.scalars(query)).all()


async def find_site_owner(session: WriteSession, site_id: UUID, visible: TenantScope) -> UUID | None:
    """Find the organisation of a visible site, or None. The site is locked against deletion."""
    query = select(Site.organisation_id).where(Site.id == site_id)
    query = query.where(*visible.within(Site.organisation_id, Site.id))
    owner: UUID | None = await session.scalar(query.with_for_update(read=True, key_share=True))
    return owner


def _owned(visible: TenantScope) -> tuple[Any, ...]:
    return visible.within(Rule.organisation_id, Rule.site_id)
