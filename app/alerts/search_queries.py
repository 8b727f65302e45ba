"""Searches alerts by their rule, box, site and id, within a tenant scope."""

from functools import lru_cache
from typing import Final

from sqlalchemy import Subquery, Text, func, literal_column, select, union

from app.alerts.models import Alert
from app.alerts.repository import LISTED_BY_IDS
from app.platform.db.search_terms import SearchTerms, match_id, match_terms, rank_terms
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.models import Box, Site
from app.rules.definitions.models import Rule

SEARCHED_ALERTS: Final = 500
"""The newest alerts, and the newest firing alerts, that are searched by names. By id, all are."""


async def search_alerts(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, FlatRow]]:
    """Find alerts: the best matches first, firing ones before resolved ones, newer before older.

    Alerts of dry runs are left out.

    Args:
        reader: Runs the statements.
        terms: The query.
        visible: The caller's tenant scope.
        limit: The most alerts.

    Returns:
        Ranks, with rows of `app.alerts.repository.compile_alert_page`.
    """
    found = await reader.fetch(_compile_alert_search(visible, limit), terms.values())
    if not found:
        return []
    rows = await reader.fetch(LISTED_BY_IDS, {"alert_ids": [row.id for row in found]})
    by_id = {row.id: row for row in rows}
    # An alert may be deleted between the two statements.
    return [(row.rank, by_id[row.id]) for row in found if row.id in by_id]


# Building a statement takes as long as running it.
@lru_cache(256)
def _compile_alert_search(visible: TenantScope, limit: int) -> CompiledStatement:
    found = _select_candidates(visible).c
    searched = Rule.search_text + func.coalesce(Box.search_text, "") + func.coalesce(Site.search_text, "")
    rank = rank_terms(searched, found.id).label("rank")
    statement = select(rank, found.id).join(Rule, Rule.id == found.rule_id)
    statement = statement.join(Site, Site.id == found.site_id).outerjoin(Box, Box.key == found.box_key)
    statement = statement.where(match_terms(searched, found.id))
    statement = statement.order_by(rank, found.state == "resolved", found.id.desc())
    return compile_statement(statement.limit(limit))


def _select_candidates(visible: TenantScope) -> Subquery:
    """Select the alerts to compare: a tenant may have millions."""
    # All that the comparison needs: to look alerts up again by their ids would double its time.
    alerts = select(Alert.id, Alert.rule_id, Alert.site_id, Alert.box_key, Alert.state)
    alerts = alerts.where(Alert.dry_run.is_(False))
    alerts = alerts.where(*visible.within(Alert.organisation_id, Alert.site_id))
    newest = alerts.order_by(Alert.id.desc()).limit(SEARCHED_ALERTS)
    # A literal: PostgreSQL uses the partial index for no parameter.
    firing = newest.where(Alert.state == literal_column("'firing'", Text))
    parts = (newest, firing, newest.where(match_id(Alert.id)))
    return union(*(select(part.subquery()) for part in parts)).subquery()
