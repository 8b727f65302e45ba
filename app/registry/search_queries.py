"""Searches sites and boxes by their names, tags, addresses and ids, within a tenant scope."""

from functools import lru_cache

from sqlalchemy import select

from app.platform.db.search_terms import SearchTerms, match_terms, rank_terms
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site


async def search_sites(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[FlatRow]:
    """Find sites by name, address or id, the best matches first.

    Args:
        reader: Runs the statement.
        terms: The query.
        visible: The caller's tenant scope.
        limit: The most rows.

    Returns:
        Rows with `rank`, `id`, `name` and `address`.
    """
    return await reader.fetch(_compile_site_search(visible, limit), terms.values())


# Building a statement takes as long as running it.
@lru_cache(256)
def _compile_site_search(visible: TenantScope, limit: int) -> CompiledStatement:
    rank = rank_terms(Site.search_text, Site.id).label("rank")
    statement = select(rank, Site.id, Site.name, Site.address)
    statement = statement.where(*visible.within(Site.organisation_id, Site.id))
    statement = statement.where(match_terms(Site.search_text, Site.id))
    return compile_statement(statement.order_by(rank, Site.name, Site.id).limit(limit))


async def search_boxes(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[FlatRow]:
    """Find boxes that are not deleted by id, name or tag, the best matches first.

    Args:
        reader: Runs the statement.
        terms: The query.
        visible: The caller's tenant scope.
        limit: The most rows.

    Returns:
        Rows with `rank`, `id`, `name`, `site_id` and `site_name`.
    """
    return await reader.fetch(_compile_box_search(visible, limit), terms.values())


@lru_cache(256)
def _compile_box_search(visible: TenantScope, limit: int) -> CompiledStatement:
    rank = rank_terms(Box.search_text).label("rank")
    boxes = select(rank, Box.id, Box.name, Box.site_id).where(Box.deleted_at.is_(None))
    boxes = boxes.where(*visible.within(Box.organisation_id, Box.site_id))
    boxes = boxes.where(match_terms(Box.search_text)).order_by(rank, Box.id).limit(limit)
    found = boxes.subquery()
    statement = select(found, Site.name.label("site_name")).join(Site, Site.id == found.c.site_id)
    return compile_statement(statement.order_by(found.c.rank, found.c.id))
