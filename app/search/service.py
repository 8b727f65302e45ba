"""Searches each kind of resource in its room, and combines the results."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from app.alerts.alert_presentation import AlertNames, describe_alert
from app.alerts.search_queries import search_alerts
from app.notifications.sentences import event_sentence
from app.platform.db.search_terms import MATCH_QUALITIES, SearchTerms, read_search_terms
from app.platform.db.tenant_reader import FlatRow, TenantReader
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.search_queries import search_boxes, search_sites
from app.rules.definitions.search_queries import search_rules
from app.search.schemas import SearchKind, SearchResult
from app.sound_incidents.search_queries import search_incidents

_SEPARATOR: Final = " · "


class SearchFindings(NamedTuple):
    """The results of a search.

    Attributes:
        results: The best matches first.
        more: Kinds with more matches than were asked for.
    """

    results: list[SearchResult]
    more: list[SearchKind]


type _KindSearch = Callable[
    [TenantReader, SearchTerms, TenantScope, int], Awaitable[list[tuple[int, SearchResult]]]
]


async def search_kinds(
    reader: TenantReader, query: str, kinds: Sequence[SearchKind], visible: TenantScope, limit: int
) -> SearchFindings:
    """Search kinds of resources for a query.

    Args:
        reader: Runs the statements.
        query: The client's text.
        kinds: The kinds, in the order of equal matches.
        visible: The caller's tenant scope.
        limit: The most results of each kind.
    """
    terms = await read_search_terms(reader, query)
    if terms.is_empty:
        return SearchFindings([], [])
    ranked: list[tuple[int, SearchResult]] = []
    more: list[SearchKind] = []
    for kind in kinds:
        found = await _SEARCHES[kind](reader, terms, visible, limit + 1)
        if len(found) > limit:
            more.append(kind)
        ranked += found[:limit]
    # Stable: the order of kinds, and of results in them, remains.
    ranked.sort(key=itemgetter(0))
    return SearchFindings([result for _, result in ranked], more)


def _shown(
    kind: SearchKind,
    row: FlatRow,
    title: str,
    subtitle: str | None,
    *,
    rank: int,
    url: str,
    site_id: UUID,
    title_fr: str | None = None,
    state: str | None = None,
) -> tuple[int, SearchResult]:
    result = SearchResult(
        kind=kind,
        id=str(row.id),
        title=title,
        title_fr=title_fr or title,
        subtitle=subtitle,
        site_id=site_id,
        state=state,
        match=MATCH_QUALITIES[rank],
        url=f"/v1/{url}/{row.id}",
    )
    return rank, result


async def _search_sites(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, SearchResult]]:
    return [
        _shown("site", row, row.name, row.address, rank=row.rank, url="sites", site_id=row.id)
        for row in await search_sites(reader, terms, visible, limit)
    ]


async def _search_boxes(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, SearchResult]]:
    return [
        _shown(
            "box",
            row,
            row.name or row.id,
            _SEPARATOR.join((row.id, row.site_name) if row.name else (row.site_name,)),
            rank=row.rank,
            url="boxes",
            site_id=row.site_id,
        )
        for row in await search_boxes(reader, terms, visible, limit)
    ]


async def _search_alerts(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, SearchResult]]:
    results = []
    for rank, row in await search_alerts(reader, terms, visible, limit):
        names = AlertNames(
            row.rule_name, row.site_name, row.box_name, row.rule_definition, one_box=row.site_boxes == 1
        )
        result = _shown(
            "alert",
            row,
            describe_alert(row, names, "en"),
            _SEPARATOR.join(name for name in (row.rule_name, row.site_name) if name),
            rank=rank,
            url="alerts",
            site_id=row.site_id,
            title_fr=describe_alert(row, names, "fr"),
            state=row.state,
        )
        results.append(result)
    return results


async def _search_rules(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, SearchResult]]:
    return [
        _shown("rule", row, row.name, row.site_name, rank=row.rank, url="rules", site_id=row.site_id)
        for row in await search_rules(reader, terms, visible, limit)
    ]


async def _search_incidents(
    reader: TenantReader, terms: SearchTerms, visible: TenantScope, limit: int
) -> list[tuple[int, SearchResult]]:
    results = []
    for row in await search_incidents(reader, terms, visible, limit):
        data = {"site_name": row.site_name, "classes": row.classes, "probability": row.probability}
        result = _shown(
            "incident",
            row,
            event_sentence("incident.detected", data, "en"),
            row.site_name,
            rank=row.rank,
            url="incidents",
            site_id=row.site_id,
            title_fr=event_sentence("incident.detected", data, "fr"),
            state=row.state,
        )
        results.append(result)
    return results


_SEARCHES: Final[Mapping[SearchKind, _KindSearch]] = {
    "site": _search_sites,
    "box": _search_boxes,
    "alert": _search_alerts,
    "rule": _search_rules,
    "incident": _search_incidents,
}
