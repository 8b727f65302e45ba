"""Searching the register: words, addresses, places, purposes that were declared."""

from datetime import UTC, datetime
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.public_register.page_rendering import PageContext
from app.public_register.register_model import PublishedSite, RegisterSnapshot
from app.public_register.register_search import (
    UNDECLARED,
    SiteSearchQuery,
    parse_coordinates,
    search_sites,
)
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.site_list_page import render_index_page
from app.registry.site_retention import RetentionSettings
from tests.unit.public_register.test_register_parts import purpose

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_SPACE = UUID("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11")


def site(name: str, latitude: float, longitude: float, **more: object) -> PublishedSite:
    fields = {"purposes": (purpose("noise"),), **more}
    return PublishedSite(
        uuid5(_SPACE, name), "Toulouse", name, "street", "Europe/Paris", 100, longitude, latitude,
        RetentionSettings(), NOW, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


CITY = [
    site("Capitole", 43.6044, 1.4437, address="Place du Capitole, 31000 Toulouse"),
    site("Blagnac", 43.6291, 1.3638, purposes=(purpose("noise", origin="default"),)),
    site("Aberdeen", 57.1497, -2.0943),
]
REGISTER = RegisterSnapshot(NOW, {each.id: each for each in CITY}, ())


def names(asked: SiteSearchQuery) -> list[str]:
    return [each.name for each in search_sites(REGISTER, asked).sites]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("43.6, 1.44", (43.6, 1.44)),
        ("43.6,1.44", (43.6, 1.44)),
        ("43.6 1.44", (43.6, 1.44)),
        ("43,6 1,44", (43.6, 1.44)),
        ("43,6; 1,44", (43.6, 1.44)),
        ("43,6, 1,44", (43.6, 1.44)),
        (" 43.6° N, 1.44° E ", (43.6, 1.44)),
        ("33.9S 18.4W", (-33.9, -18.4)),
        ("48,85° N 2,35° O", (48.85, -2.35)),
        ("-33.9, -18.4", (-33.9, -18.4)),
        ("31000", None),
        ("12 3", None),
        ("12 rue de Metz", None),
        ("91.0, 0", None),
        ("43.6, 181", None),
        ("2026.5, 1", None),
        ("", None),
    ],
)
def test_a_place_is_read_as_people_write_it(text: str, place: tuple[float, float] | None) -> None:
    found = parse_coordinates(text)
    assert (None if found is None else (found.latitude, found.longitude)) == place


@given(st.text(max_size=100))
def test_no_text_is_too_odd_for_a_search(text: str) -> None:
    search_sites(REGISTER, SiteSearchQuery(text))


def test_what_is_near_comes_first_and_the_nearest_where_nothing_is() -> None:
    assert names(SiteSearchQuery("43.6044, 1.4437")) == ["Capitole", "Blagnac"]
    assert names(SiteSearchQuery("43.6291, 1.3638")) == ["Blagnac", "Capitole"]
    far = search_sites(REGISTER, SiteSearchQuery("48.85, 2.35"))
    assert far.is_far
    assert [each.name for each in far.sites] == ["Blagnac", "Capitole", "Aberdeen"]


def test_an_address_is_searched_and_a_purpose_counts_where_it_was_declared() -> None:
    assert names(SiteSearchQuery("31000")) == ["Capitole"]
    assert names(SiteSearchQuery("rue bruit")) == ["Capitole", "Aberdeen"]
    assert names(SiteSearchQuery("street noise capitole")) == ["Capitole"]
    assert names(SiteSearchQuery(purpose="noise")) == ["Capitole", "Aberdeen"]
    assert names(SiteSearchQuery(purpose=UNDECLARED)) == ["Blagnac"]


def test_totals_map_and_list_are_of_what_was_found() -> None:
    page = render_index_page(
        REGISTER, SiteSearchQuery("43.6, 1.44", "noise"), PageContext(RegisterFormatter("en"), NOW)
    )
    assert "<dt>Sites</dt><dd>1</dd>" in page
    assert 'data-places="/public/register.geojson?q=43.6%2C+1.44&amp;purpose=noise"' in page
    for form in ("geojson", "csv", "json"):
        assert f'href="/public/register.{form}?q=43.6%2C+1.44&amp;purpose=noise"' in page
    assert "about 600\xa0m away" in page
    assert "1 site within 10\xa0km of this place" in page
    whole = render_index_page(REGISTER, SiteSearchQuery(), PageContext(RegisterFormatter("fr"), NOW))
    assert "<dt>Sites</dt><dd>3</dd>" in whole
    assert 'data-places="/public/register.geojson"' in whole
    assert "pas encore déclaré par l\u2019exploitant" in whole
