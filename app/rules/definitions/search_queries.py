"""Searches rules by name and id, within a tenant scope."""

from functools import lru_cache

from sqlalchemy import select

from app.platform.db.search_terms import SearchTerms, match_terms, rank_terms
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site
from app.rules.definitions.models import Rule


async def search_rules(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[FlatRow]:
    """Find rules that are not deleted, the best matches first.

    Args:
        reader: Runs the statement.
        terms: The query.
        visible: The caller's tenant scope.
        limit: The most rows.

    Returns:
        Rows with `rank`, `id`, `name`, `site_id` and `site_name`.
    """
    return await reader.fetch(_compile_rule_search(visible, limit), terms.values())


# Building a statement takes as long as running it.
@lru_cache(256)
def _compile_rule_search(visible: TenantScope, limit: int) -> CompiledStatement:
    rank = rank_terms(Rule.search_text, Rule.id).label("rank")
    statement = select(rank, Rule.id, Rule.name, Rule.site_id, Site.name.label("site_name"))
    statement = statement.join(Site, Site.id == Rule.site_id).where(Rule.deleted_at.is_(None))
    statement = statement.where(*visible.within(Rule.organisation_id, Rule.site_id))
    statement = statement.where(match_terms(Rule.search_text, Rule.id))
    return compile_statement(statement.order_by(rank, Rule.name, Rule.id).limit(limit))
