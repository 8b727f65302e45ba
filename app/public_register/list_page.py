"""The first page: totals, search, the map and the list of sites; and what is refused of nobody. Pure."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

from app.catalogue.purposes import PURPOSES, PURPOSES_BY_NAME
from app.indicators.index_results import BilingualText
from app.public_register.legal_texts import NO_PURPOSE, REFUSALS
from app.public_register.page_frame import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import PublishedSite, RefusalCount, RegisterSnapshot
from app.public_register.register_search import (
    NEARBY_RADIUS_M,
    UNDECLARED,
    SiteSearchQuery,
    SiteSearchResult,
    search_sites,
)
from app.reports.render.report_texts import SITE_KINDS

PER_PAGE: Final = 60
PATH: Final = "/public"


def render_index_page(register: RegisterSnapshot, asked: SiteSearchQuery, frame: PageContext) -> str:
    """The map and the list."""
    writing = frame.writing
    found = search_sites(register, asked)
    last = max(1, -(-len(found.sites) // PER_PAGE))
    page = min(max(1, asked.page), last)
    shown = found.sites[(page - 1) * PER_PAGE : page * PER_PAGE]
    query = {"q": asked.q, "purpose": asked.purpose}
    first = (page - 1) * PER_PAGE + 1
    pages = {
        "earlier": frame.to(PATH, **query, page=page - 1) if page > 1 else "",
        "next": frame.to(PATH, **query, page=page + 1) if page < last else "",
        "said": writing.word("page_of").format(
            first=first, last=first + len(shown) - 1, total=writing.number(len(found.sites))
        ),
    }
    return render_page(
        "index.html",
        frame,
        title=writing.word("register"),
        path=PATH,
        query=query,
        data=[
            (_data("geojson", asked), "GeoJSON"),
            (_data("csv", asked), "CSV"),
            (_data("json", asked), "JSON"),
            (build_localized_url("/public/changes.atom", writing.language), "Atom"),
        ],
        totals=_totals(found.sites, writing),
        q=asked.q,
        purpose=asked.purpose,
        purposes=[
            *((each.name, writing.said(BilingualText(each.title, each.title_fr))) for each in PURPOSES),
            (UNDECLARED, writing.word("undeclared_only")),
        ],
        places=_data("geojson", asked),
        place=found.place,
        found=_found(found, writing),
        sites=[_site(site, found, frame) for site in shown],
        pages=pages,
        empty=writing.word("nothing_found" if register.sites else "no_sites"),
        refusals=build_refusal_rows(register.unattributed, writing),
    )


def format_site_kind(site: PublishedSite, writing: RegisterFormatter) -> str:
    """The kind of place, in the language where it is one of ours."""
    return writing.said(SITE_KINDS[site.kind]) if site.kind in SITE_KINDS else site.kind


def format_site_summary(site: PublishedSite, writing: RegisterFormatter) -> str:
    """A site in a line: its kind, its boxes, its operator."""
    boxes = writing.formats.counted(len(site.boxes), WORDS["box_one"], WORDS["box_many"])
    operator = writing.filled(WORDS["operated_by"], name=site.operator)
    return ", ".join([format_site_kind(site, writing), boxes, operator])


def build_refusal_rows(refusals: Sequence[RefusalCount], writing: RegisterFormatter) -> list[list[str]]:
    """What was refused and why, with how often."""
    colon = ": " if writing.language == "en" else "\xa0: "
    return [
        [
            colon.join([_purpose(each.purpose, writing), _reason(each.code, writing)]),
            writing.number(each.month),
            writing.number(each.year),
        ]
        for each in refusals
    ]


def _reason(code: str, writing: RegisterFormatter) -> str:
    return writing.said(REFUSALS[code]) if code in REFUSALS else code


def _purpose(name: str | None, writing: RegisterFormatter) -> str:
    if name is None:
        return writing.said(NO_PURPOSE)
    known = next((each for key, each in PURPOSES_BY_NAME.items() if key == name), None)
    return name if known is None else writing.said(BilingualText(known.title, known.title_fr))


def _data(form: str, asked: SiteSearchQuery) -> str:
    """Where what the list shows is as data: all of what is found, on whatever page."""
    given = {name: value for name, value in (("q", asked.q), ("purpose", asked.purpose)) if value}
    return f"/public/register.{form}?{urlencode(given)}" if given else f"/public/register.{form}"


def _found(found: SiteSearchResult, writing: RegisterFormatter) -> str:
    count = writing.formats.counted(len(found.sites), WORDS["found_one"], WORDS["found_many"])
    if found.place is None or not found.sites:
        return count
    key = "found_far" if found.is_far else "found_near"
    return writing.word(key).format(count=count, far=writing.distance(NEARBY_RADIUS_M))


def _totals(sites: Sequence[PublishedSite], writing: RegisterFormatter) -> list[tuple[str, str]]:
    sensitive = sum(any(each.sensitive for each in site.active) for site in sites)
    numbers = (
        ("sites", len(sites)),
        ("boxes", sum(len(site.boxes) for site in sites)),
        ("operators", len({site.operator for site in sites})),
        ("sensitive_sites", sensitive),
    )
    return [(writing.word(key), writing.number(value)) for key, value in numbers]


def _site(site: PublishedSite, found: SiteSearchResult, frame: PageContext) -> dict[str, Any]:
    writing = frame.writing
    away = found.distances.get(site.id)
    return {
        "href": frame.to(f"/public/sites/{site.id}"),
        "name": site.name,
        "line": format_site_summary(site, writing),
        "address": site.address,
        "away": "" if away is None else writing.word("away").format(distance=writing.distance(away)),
        "purposes": [
            {
                "title": writing.said(BilingualText(each.known.title, each.known.title_fr)),
                "sensitive": each.sensitive,
            }
            for each in site.active
        ],
    }
