"""Renders the first page of the register: totals, search, map and list of sites. Pure.

It also shows the refusals that belong to no known site.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from app.catalogue.purposes import PURPOSES
from app.presentation.translation import BilingualText
from app.public_register.change_texts import format_purpose_name
from app.public_register.legal_texts import NO_PURPOSE, REFUSALS
from app.public_register.page_rendering import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.register_model import PublishedSite, RefusalCount, RegisterSnapshot
from app.public_register.register_search import (
    NEARBY_RADIUS_M,
    UNDECLARED,
    SiteSearchQuery,
    SiteSearchResult,
    search_sites,
)
from app.public_register.register_value_formatter import RegisterFormatter
from app.reports.render.report_texts import SITE_KINDS

PER_PAGE: Final = 60
PATH: Final = "/public"


def render_index_page(register: RegisterSnapshot, search: SiteSearchQuery, frame: PageContext) -> str:
    """Render a page of the list, with the map of all sites that the search finds."""
    formatter = frame.formatter
    found = search_sites(register, search)
    last = max(1, -(-len(found.sites) // PER_PAGE))
    page = min(max(1, search.page), last)
    shown = found.sites[(page - 1) * PER_PAGE : page * PER_PAGE]
    query = {"q": search.q, "purpose": search.purpose}
    first = (page - 1) * PER_PAGE + 1
    pages = {
        "earlier": frame.to(PATH, **query, page=page - 1) if page > 1 else "",
        "next": frame.to(PATH, **query, page=page + 1) if page < last else "",
        "range": formatter.word("page_of").format(
            first=first, last=first + len(shown) - 1, total=formatter.number(len(found.sites))
        ),
    }
    return render_page(
        "index.html",
        frame,
        title=formatter.word("register"),
        path=PATH,
        query=query,
        data=[
            (_build_data_url("geojson", search), "GeoJSON"),
            (_build_data_url("csv", search), "CSV"),
            (_build_data_url("json", search), "JSON"),
            (build_localized_url("/public/changes.atom", formatter.language), "Atom"),
        ],
        totals=_totals(found.sites, formatter),
        q=search.q,
        purpose=search.purpose,
        purposes=[
            *(
                (each.name, formatter.translate(BilingualText(each.title, each.title_fr)))
                for each in PURPOSES
            ),
            (UNDECLARED, formatter.word("undeclared_only")),
        ],
        places=_build_data_url("geojson", search),
        place=found.place,
        found=_found(found, formatter),
        sites=[_site(site, found, frame) for site in shown],
        pages=pages,
        empty=formatter.word("nothing_found" if register.sites else "no_sites"),
        refusals=build_refusal_rows(register.unattributed, formatter),
    )


def format_site_kind(site: PublishedSite, formatter: RegisterFormatter) -> str:
    """Format the kind of place; kinds that the program does not know are shown as they are."""
    return formatter.translate(SITE_KINDS[site.kind]) if site.kind in SITE_KINDS else site.kind


def format_site_summary(site: PublishedSite, formatter: RegisterFormatter, sending: int | None = None) -> str:
    """Summarise a site in a line: kind, boxes and operator.

    Args:
        site: The site.
        formatter: The language.
        sending: How many boxes sent open data in the last day; None: unknown.
    """
    boxes = formatter.counted(len(site.boxes), WORDS["box_one"], WORDS["box_many"])
    if sending is not None and sending < len(site.boxes):
        sent = formatter.counted(sending, WORDS["sent_one"], WORDS["sent_many"])
        boxes = f"{boxes} ({sent})"
    operator = formatter.fill(WORDS["operated_by"], name=site.operator)
    return ", ".join([format_site_kind(site, formatter), boxes, operator])


def build_refusal_rows(refusals: Sequence[RefusalCount], formatter: RegisterFormatter) -> list[list[str]]:
    """Build the rows of the table of refusals: purpose and reason, then the counts."""
    return [
        [
            formatter.colon.join(
                [_format_purpose(each.purpose, formatter), _format_reason(each.code, formatter)]
            ),
            formatter.number(each.month),
            formatter.number(each.year),
        ]
        for each in refusals
    ]


def _format_reason(code: str, formatter: RegisterFormatter) -> str:
    return formatter.translate(REFUSALS[code]) if code in REFUSALS else code


def _format_purpose(name: str | None, formatter: RegisterFormatter) -> str:
    return formatter.translate(NO_PURPOSE) if name is None else format_purpose_name(name, formatter)


def _build_data_url(form: str, search: SiteSearchQuery) -> str:
    """Return the address of the found sites as data: those of all pages of the list."""
    given = {name: value for name, value in (("q", search.q), ("purpose", search.purpose)) if value}
    return f"/public/register.{form}?{urlencode(given)}" if given else f"/public/register.{form}"


def _found(found: SiteSearchResult, formatter: RegisterFormatter) -> str:
    count = formatter.counted(len(found.sites), WORDS["found_one"], WORDS["found_many"])
    if found.place is None or not found.sites:
        return count
    key = "found_far" if found.is_far else "found_near"
    return formatter.word(key).format(count=count, far=formatter.distance(NEARBY_RADIUS_M))


def _totals(sites: Sequence[PublishedSite], formatter: RegisterFormatter) -> list[tuple[str, str]]:
    sensitive = sum(any(each.sensitive for each in site.active) for site in sites)
    numbers = (
        ("sites", len(sites)),
        ("boxes", sum(len(site.boxes) for site in sites)),
        ("operators", len({site.operator for site in sites})),
        ("sensitive_sites", sensitive),
    )
    return [(formatter.word(key), formatter.number(value)) for key, value in numbers]


def _site(site: PublishedSite, found: SiteSearchResult, frame: PageContext) -> dict[str, Any]:
    formatter = frame.formatter
    away = found.distances.get(site.id)
    return {
        "href": frame.to(f"/public/sites/{site.id}"),
        "name": site.name,
        "line": format_site_summary(site, formatter),
        "address": site.address,
        "away": "" if away is None else formatter.word("away").format(distance=formatter.distance(away)),
        "purposes": [
            {
                "title": formatter.translate(BilingualText(each.known.title, each.known.title_fr)),
                "sensitive": each.sensitive,
            }
            for each in site.active
        ],
    }
