"""Searches the register by words, by a purpose, or by coordinates. Pure."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from app.acoustics.great_circle_distance import compute_distance_m
from app.catalogue.purposes import PURPOSES_BY_NAME
from app.public_register.register_model import PublishedSite, RegisterSnapshot
from app.reports.render.report_texts import SITE_KINDS

UNDECLARED: Final = "undeclared"
"""Value of the purpose filter that finds sites without a declared purpose in force."""
NEARBY_RADIUS_M: Final = 10_000.0
"""A search for coordinates finds the sites within this distance (m)."""
MAX_QUERY_CHARS: Final = 100
"""Greatest length of a query (characters)."""
NEAREST_COUNT: Final = 5
"""Number of nearest sites that are returned if none is within `NEARBY_RADIUS_M`."""

_NUMBER: Final = r"([-+]?\d{1,3}(?:[.,]\d{1,12})?)\s*°?\s*"
_PLACE: Final = re.compile(
    rf"\s*{_NUMBER}([NS]?)\s*(?:[,;]\s*|(?<=[\s°NS]))\s*{_NUMBER}([EWO]?)\s*", re.IGNORECASE
)
_MARKS: Final = frozenset(".,;°")
_LATITUDE, _LONGITUDE = 90.0, 180.0


@dataclass(frozen=True, slots=True)
class SiteSearchQuery:
    """A search: words or coordinates (`q`), a purpose in force, and the page of the result."""

    q: str = ""
    purpose: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A point on earth (WGS 84, degrees)."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class SiteSearchResult:
    """The result of a search.

    Attributes:
        sites: The sites by name; for coordinates, the nearest first.
        place: The coordinates of the search.
        distances: The distances of sites from `place` (m), by site id.
        is_far: Whether no site is within `NEARBY_RADIUS_M`, so that `sites` are the nearest ones.
    """

    sites: Sequence[PublishedSite]
    place: GeoPoint | None = None
    distances: Mapping[UUID, float] = field(default_factory=dict)
    is_far: bool = False


def search_sites(register: RegisterSnapshot, search: SiteSearchQuery) -> SiteSearchResult:
    """Find the sites that match all words, or that are near the coordinates."""
    sites = [site for site in register.sites.values() if _has_purpose(site, search.purpose)]
    place = parse_coordinates(search.q)
    if place is not None:
        return _near(sites, place)
    words = fold_accents(search.q).split()
    return SiteSearchResult([site for site in sites if _has_words(site, words)])


def filter_register(register: RegisterSnapshot, search: SiteSearchQuery) -> RegisterSnapshot:
    """Return the register with the found sites only, in its own order."""
    found = {site.id for site in search_sites(register, search).sites}
    return replace(register, sites={key: site for key, site in register.sites.items() if key in found})


def _has_words(site: PublishedSite, words: Sequence[str]) -> bool:
    """Return whether the public texts of a site, in both languages, contain all words."""
    if not words:
        return True
    texts = [site.name, site.operator, site.address or "", site.kind]
    if kind := SITE_KINDS.get(site.kind):
        texts += [kind.en, kind.fr]
    for each in site.active:
        purpose = PURPOSES_BY_NAME[each.known.name]
        texts += [purpose.title, purpose.title_fr]
    searchable = fold_accents(" ".join(texts))
    return all(word in searchable for word in words)


def _has_purpose(site: PublishedSite, name: str) -> bool:
    if name == UNDECLARED:
        return not site.active
    return not name or any(each.purpose == name for each in site.active)


def _near(sites: Sequence[PublishedSite], place: GeoPoint) -> SiteSearchResult:
    distances = {
        site.id: compute_distance_m(place.latitude, place.longitude, site.latitude, site.longitude)
        for site in sites
    }
    ordered = sorted(sites, key=lambda site: distances[site.id])
    near = [site for site in ordered if distances[site.id] <= NEARBY_RADIUS_M]
    return SiteSearchResult(near or ordered[:NEAREST_COUNT], place, distances, is_far=not near)


def parse_coordinates(text: str) -> GeoPoint | None:
    """Parse a latitude and a longitude, such as `43.6, 1.44` or `43,6 1,44`; None: the text has none."""
    found = _PLACE.fullmatch(text)
    if found is None or not _MARKS & set(text):
        return None
    latitude, south, longitude, west = found.groups()
    y, x = (float(each.replace(",", ".")) for each in (latitude, longitude))
    y = -y if south.upper() == "S" else y
    x = -x if west.upper() in {"W", "O"} else x
    return GeoPoint(y, x) if abs(y) <= _LATITUDE and abs(x) <= _LONGITUDE else None


def fold_accents(text: str) -> str:
    """Remove accents and fold case."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(each for each in parts if not unicodedata.combining(each)).casefold()
