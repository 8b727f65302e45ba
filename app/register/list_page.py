"""The first page: totals, search, the map and the list of sites; and what is refused of nobody. Pure."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.city.results import Text
from app.register.model import RefusalCount, Register, SiteEntry
from app.register.page import Frame, in_language, rendered
from app.register.words import WORDS
from app.register.words_of_law import NO_PURPOSE, REFUSALS
from app.register.writing import Writing
from app.reports.drawn.words import SITE_KINDS
from app.sites.purposes import BY_NAME, PURPOSES

PER_PAGE: Final = 60
PATH: Final = "/public"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for: words of names, a purpose in force, and which page of what is found."""

    q: str = ""
    purpose: str = ""
    page: int = 1


def index_page(register: Register, asked: Asked, frame: Frame) -> str:
    """The map and the list."""
    writing = frame.writing
    found = search(register, asked)
    last = max(1, -(-len(found) // PER_PAGE))
    page = min(max(1, asked.page), last)
    shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    query = {"q": asked.q, "purpose": asked.purpose}
    first = (page - 1) * PER_PAGE + 1
    pages = {
        "earlier": frame.to(PATH, **query, page=page - 1) if page > 1 else "",
        "next": frame.to(PATH, **query, page=page + 1) if page < last else "",
        "said": writing.word("page_of").format(
            first=first, last=first + len(shown) - 1, total=writing.number(len(found))
        ),
    }
    return rendered(
        "index.html",
        frame,
        title=writing.word("register"),
        path=PATH,
        query=query,
        data=[
            ("/public/register.geojson", "GeoJSON"),
            ("/public/register.csv", "CSV"),
            ("/public/register.json", "JSON"),
            (in_language("/public/changes.atom", writing.language), "Atom"),
        ],
        totals=_totals(register, writing),
        q=asked.q,
        purpose=asked.purpose,
        purposes=[(each.name, writing.said(Text(each.title, each.title_fr))) for each in PURPOSES],
        places="/public/register.geojson",
        found=writing.formats.counted(len(found), WORDS["found_one"], WORDS["found_many"]),
        sites=[_site(site, frame) for site in shown],
        pages=pages,
        empty=writing.word("nothing_found" if register.sites else "no_sites"),
        refusals=refusal_rows(register.unattributed, writing),
    )


def search(register: Register, asked: Asked) -> list[SiteEntry]:
    """The sites whose name or operator has all the words, whatever their case and accents."""
    words = folded(asked.q).split()
    return [
        site
        for site in register.sites.values()
        if all(word in folded(f"{site.name} {site.operator}") for word in words)
        and (
            not asked.purpose
            or any(each.purpose == asked.purpose and each.in_force for each in site.purposes)
        )
    ]


def folded(text: str) -> str:
    """A text without accents, in lower case."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(each for each in parts if not unicodedata.combining(each)).casefold()


def kind_of(site: SiteEntry, writing: Writing) -> str:
    """The kind of place, in the language where it is one of ours."""
    return writing.said(SITE_KINDS[site.kind]) if site.kind in SITE_KINDS else site.kind


def line_of(site: SiteEntry, writing: Writing) -> str:
    """A site in a line: its kind, its boxes, its operator."""
    boxes = writing.formats.counted(len(site.boxes), WORDS["box_one"], WORDS["box_many"])
    operator = writing.filled(WORDS["operated_by"], name=site.operator)
    return ", ".join([kind_of(site, writing), boxes, operator])


def refusal_rows(refusals: Sequence[RefusalCount], writing: Writing) -> list[list[str]]:
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


def _reason(code: str, writing: Writing) -> str:
    return writing.said(REFUSALS[code]) if code in REFUSALS else code


def _purpose(name: str | None, writing: Writing) -> str:
    if name is None:
        return writing.said(NO_PURPOSE)
    known = next((each for key, each in BY_NAME.items() if key == name), None)
    return name if known is None else writing.said(Text(known.title, known.title_fr))


def _totals(register: Register, writing: Writing) -> list[tuple[str, str]]:
    sites = register.sites.values()
    sensitive = sum(any(each.sensitive and each.in_force for each in site.purposes) for site in sites)
    numbers = (
        ("sites", len(sites)),
        ("boxes", sum(len(site.boxes) for site in sites)),
        ("operators", len({site.operator for site in sites})),
        ("sensitive_sites", sensitive),
    )
    return [(writing.word(key), writing.number(value)) for key, value in numbers]


def _site(site: SiteEntry, frame: Frame) -> dict[str, Any]:
    writing = frame.writing
    return {
        "href": frame.to(f"/public/sites/{site.id}"),
        "name": site.name,
        "line": line_of(site, writing),
        "purposes": [
            {"title": writing.said(Text(each.known.title, each.known.title_fr)), "sensitive": each.sensitive}
            for each in site.purposes
            if each.in_force
        ],
    }
