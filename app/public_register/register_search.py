"""Searches the register: by words of names, addresses, kinds and purposes, by a purpose, by a place. Pure."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from app.catalogue.purposes import PURPOSES_BY_NAME
from app.public_register.register_model import PublishedSite, RegisterSnapshot
from app.reports.render.report_texts import SITE_KINDS

UNDECLARED: Final = "undeclared"
"""Asked for in place of a purpose: the sites of which the operator has declared nothing that is in force."""
NEARBY_RADIUS_M: Final = 10_000.0
"""Sites within this distance of a place are found (m)."""
MAX_QUERY_CHARS: Final = 100
"""So many characters of what is asked are looked at."""
NEAREST_COUNT: Final = 5
"""Where there are none, so many of the nearest ones are."""

_EARTH_M: Final = 6_371_008.8
_NUMBER: Final = r"([-+]?\d{1,3}(?:[.,]\d{1,12})?)\s*°?\s*"
_PLACE: Final = re.compile(
    rf"\s*{_NUMBER}([NS]?)\s*(?:[,;]\s*|(?<=[\s°NS]))\s*{_NUMBER}([EWO]?)\s*", re.IGNORECASE
)
_MARKS: Final = frozenset(".,;°")
_LATITUDE, _LONGITUDE = 90.0, 180.0


@dataclass(frozen=True, slots=True)
class SiteSearchQuery:
    """What is looked for: words or a place, a purpose in force, and which page of what is found."""

    q: str = ""
    purpose: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place on earth (WGS 84, degrees)."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class SiteSearchResult:
    """What a search finds.

    Attributes:
        sites: By name, or the nearest first.
        place: Around which it was looked.
        distances: How far sites are from it, by their id (m).
        is_far: Whether none is near, so that these are the nearest ones.
    """

    sites: Sequence[PublishedSite]
    place: GeoPoint | None = None
    distances: Mapping[UUID, float] = field(default_factory=dict)
    is_far: bool = False


def search_sites(register: RegisterSnapshot, asked: SiteSearchQuery) -> SiteSearchResult:
    """Find the sites of which all the words are said, or that are near a place."""
    sites = [site for site in register.sites.values() if _has_purpose(site, asked.purpose)]
    place = parse_coordinates(asked.q)
    if place is not None:
        return _near(sites, place)
    words = fold_accents(asked.q).split()
    return SiteSearchResult([site for site in sites if _has_words(site, words)])


def filter_register(register: RegisterSnapshot, asked: SiteSearchQuery) -> RegisterSnapshot:
    """Narrow the register to the sites that a search finds, in the register's own order."""
    found = {site.id for site in search_sites(register, asked).sites}
    return replace(register, sites={key: site for key, site in register.sites.items() if key in found})


def _has_words(site: PublishedSite, words: Sequence[str]) -> bool:
    """Whether its name, operator, address, kind and purposes in force, in either language, have all."""
    if not words:
        return True
    texts = [site.name, site.operator, site.address or "", site.kind]
    if kind := SITE_KINDS.get(site.kind):
        texts += [kind.en, kind.fr]
    for each in site.active:
        purpose = PURPOSES_BY_NAME[each.known.name]
        texts += [purpose.title, purpose.title_fr]
    said = fold_accents(" ".join(texts))
    return all(word in said for word in words)


def _has_purpose(site: PublishedSite, name: str) -> bool:
    if name == UNDECLARED:
        return not site.active
    return not name or any(each.purpose == name for each in site.active)


def _near(sites: Sequence[PublishedSite], place: GeoPoint) -> SiteSearchResult:
    distances = {
        site.id: compute_distance_m(place, GeoPoint(site.latitude, site.longitude)) for site in sites
    }
    ordered = sorted(sites, key=lambda site: distances[site.id])
    near = [site for site in ordered if distances[site.id] <= NEARBY_RADIUS_M]
    return SiteSearchResult(near or ordered[:NEAREST_COUNT], place, distances, is_far=not near)


def parse_coordinates(text: str) -> GeoPoint | None:
    """Read a latitude and a longitude, as `43.6, 1.44` or `43,6 1,44`; None: it is no place."""
    found = _PLACE.fullmatch(text)
    if found is None or not _MARKS & set(text):
        return None
    latitude, south, longitude, west = found.groups()
    y, x = (float(each.replace(",", ".")) for each in (latitude, longitude))
    y = -y if south.upper() == "S" else y
    x = -x if west.upper() in {"W", "O"} else x
    return GeoPoint(y, x) if abs(y) <= _LATITUDE and abs(x) <= _LONGITUDE else None


def compute_distance_m(one: GeoPoint, other: GeoPoint) -> float:
    """The distance of two places on a sphere (m), by the haversine formula."""
    up = math.radians(other.latitude - one.latitude)
    across = math.radians(other.longitude - one.longitude)
    lower, upper = math.radians(one.latitude), math.radians(other.latitude)
    share = math.sin(up / 2) ** 2 + math.cos(lower) * math.cos(upper) * math.sin(across / 2) ** 2
    return 2 * _EARTH_M * math.asin(min(1.0, math.sqrt(share)))


def fold_accents(text: str) -> str:
    """A text without accents, in lower case."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(each for each in parts if not unicodedata.combining(each)).casefold()
