"""Searches incidents by site, recognised class and id, within a tenant scope."""

from functools import lru_cache
from typing import Final

from sqlalchemy import Subquery, Text, cast, func, literal, select, union
from sqlalchemy.dialects.postgresql import JSONPATH, array

from app.platform.db.search_terms import SearchTerms, match_id, match_terms, rank_terms
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Site
from app.sound_incidents.models import Incident

SEARCHED_INCIDENTS: Final = 500
"""The newest incidents that are searched by site and class. By id, all are."""


async def search_incidents(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[FlatRow]:
    """Find incidents: the best matches first, newer before older. Erased ones are left out.

    Args:
        reader: Runs the statement.
        terms: The query.
        visible: The caller's tenant scope.
        limit: The most rows.

    Returns:
        Rows with `rank`, `id`, `state`, `classes`, `probability`, `site_id` and `site_name`.
    """
    return await reader.fetch(_compile_incident_search(visible, limit), terms.values())


# Building a statement takes as long as running it.
@lru_cache(256)
def _compile_incident_search(visible: TenantScope, limit: int) -> CompiledStatement:
    found = _select_candidates(visible).c
    classes = func.jsonb_path_query_array(found.classes, cast(literal("$[*].class", Text), JSONPATH))
    searched = Site.search_text + func.fold_search_text(array([cast(classes, Text)]), type_=Text)
    rank = rank_terms(searched, found.id).label("rank")
    statement = select(rank, *found, Site.name.label("site_name")).join(Site, Site.id == found.site_id)
    statement = statement.where(match_terms(searched, found.id))
    return compile_statement(statement.order_by(rank, found.id.desc()).limit(limit))


def _select_candidates(visible: TenantScope) -> Subquery:
    """Select the incidents to compare."""
    incidents = select(
        Incident.id, Incident.state, Incident.classes, Incident.probability, Incident.site_id
    ).where(Incident.erased_at.is_(None))
    incidents = incidents.where(*visible.within(Incident.organisation_id, Incident.site_id))
    newest = incidents.order_by(Incident.id.desc()).limit(SEARCHED_INCIDENTS)
    parts = (newest, newest.where(match_id(Incident.id)))
    return union(*(select(part.subquery()) for part in parts)).subquery()
