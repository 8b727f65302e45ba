"""The register's pure parts: cells, GeoJSON, CSV, the feed, DTPR, languages, files."""

import csv
import hashlib
import io
import json
import math
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import geojson_pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import METRICS_BY_NAME
from app.catalogue.purposes import PURPOSES
from app.platform.http.contract.cached_response import CachedResponse
from app.platform.kernel.position_grid import METRES_PER_DEGREE, compute_cell_size
from app.presentation.translation import BilingualText
from app.public_register import (
    about_texts,
    atom_feed,
    change_texts,
    csv_tables,
    dtpr,
    legal_texts,
    line_charts,
    page_texts,
    register_geojson,
)
from app.public_register.change_history import ChangeHistoryEntry
from app.public_register.map_tiles import MapTileSource
from app.public_register.page_rendering import (
    FOLDER,
    PageContext,
    build_page_csp,
    load_static_files,
    negotiate_language,
)
from app.public_register.register_geojson import build_cell_ring
from app.public_register.register_model import (
    PublishedBox,
    PublishedGrant,
    PublishedPurpose,
    PublishedSite,
    RegisterChange,
    RegisterSnapshot,
    SiteMean,
)
from app.public_register.register_search import SiteSearchQuery, search_sites
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.site_list_page import render_index_page
from app.public_register.ttl_cache import TtlCache
from app.registry.site_retention import RetentionSettings
from app.registry.spreadsheet_csv_reader import escape_formula

NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)
SITE: Final = UUID("0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11")
ENGLISH: Final = RegisterFormatter("en")
FRENCH: Final = RegisterFormatter("fr")


def purpose(name: str, **more: Any) -> PublishedPurpose:  # noqa: ANN401
    fields: dict[str, Any] = {
        "legal_basis": "public_task",
        "declared_at": NOW,
        "in_force": True,
        "open_data": False,
        "sensitive": False,
        **dict.fromkeys(
            (
                *("legal_reference", "controller", "contact", "impact_assessment", "notice", "description"),
                *("description_fr", "starts_at", "ends_at", "approved_at"),
            )
        ),
        **more,
    }
    return PublishedPurpose(site_id=SITE, purpose=name, **fields)


def site(*purposes: PublishedPurpose, name: str = "Rue d'Alsace", **more: Any) -> PublishedSite:  # noqa: ANN401
    boxes = (PublishedBox("3f9c2a7d10be", SITE, date(2026, 1, 2), 1.4451, 43.6045),)
    return PublishedSite(
        SITE, "Toulouse", name, "street", "Europe/Paris", 100, 1.4437, 43.6044, RetentionSettings(), NOW,
        boxes,
        purposes, **more,
    )  # fmt: skip


def register(*sites: PublishedSite) -> RegisterSnapshot:
    return RegisterSnapshot(NOW, {each.id: each for each in sites}, ())


@given(st.floats(-180, 180), st.floats(-85, 85), st.sampled_from([1, 10, 100, 1000, 10_000]))
def test_a_cell_is_as_wide_as_it_says_and_finer_ones_lie_within_coarser_ones(
    longitude: float, latitude: float, metres: int
) -> None:
    wide, high = compute_cell_size(latitude, metres)
    assert high * METRES_PER_DEGREE == pytest.approx(metres)
    # Within a degree of latitude the width of a degree of longitude changes, at 85° by a tenth.
    across = wide * METRES_PER_DEGREE * math.cos(math.radians(latitude))
    assert across == pytest.approx(metres, rel=0.12)
    finer = compute_cell_size(latitude, 1)
    assert wide / finer[0] == pytest.approx(metres)
    assert high / finer[1] == pytest.approx(metres)
    line = build_cell_ring(longitude, latitude, metres)
    assert line[0] == line[-1]


def test_geojson_is_rfc_7946() -> None:
    entry = site(purpose("noise"))
    for found in (
        register_geojson.build_sites_geojson([entry]),
        register_geojson.build_site_geojson(entry),
        register_geojson.build_sites_geojson([]),
    ):
        geojson_pydantic.FeatureCollection.model_validate(found)
        assert "crs" not in found
    whole = register_geojson.build_site_geojson(entry)
    kinds = [each["properties"]["kind"] for each in whole["features"]]
    assert kinds == ["site", "box", "cell", "cell"]
    (line,) = whole["features"][2]["geometry"]["coordinates"]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(line))
    assert area > 0, "an exterior ring is counter-clockwise"
    west, south, east, north = whole["bbox"]
    assert west < 1.4437
    assert east > 1.4451
    assert south < 43.6044 < north


def test_a_table_has_no_formula_and_its_numbers_stay_numbers() -> None:
    entry = site(purpose("noise", controller="=1+1"), name='@SUM("a";1)\r\nb')
    text = csv_tables.format_register_csv(register(entry))
    (head, line) = list(csv.reader(io.StringIO(text, newline="")))
    assert tuple(head) == csv_tables.REGISTER_COLUMNS
    row = dict(zip(head, line, strict=True))
    assert row["site"] == '\'@SUM("a";1)\r\nb'
    assert row["controller"] == "'=1+1"
    assert (row["longitude"], row["boxes"], row["standing"]) == ("1.4437", "1", "in_force")
    assert text.endswith("\r\n")
    assert escape_formula("-5") == "'-5"
    assert escape_formula("a-5") == "a-5"


def test_a_feed_has_what_rfc_4287_asks_for() -> None:
    changes = [
        RegisterChange(2, NOW, SITE, "A <b> & c", "boxes_added", {"count": 3}),
        RegisterChange(1, NOW - timedelta(days=1), SITE, "A", "site_added", {"kind": "street"}),
    ]
    entries = [ChangeHistoryEntry(each, each) for each in changes]
    data = atom_feed.build_atom_feed(
        entries,
        FRENCH,
        base="https://x.example",
        path="/public/changes",
        title="Registre",
        now=NOW,
        rights="Etalab Open License 2.0 (etalab-2.0)",
    )
    root = ET.fromstring(data)  # noqa: S314 (our own)
    name = f"{{{atom_feed.NAMESPACE}}}"
    assert root.tag == f"{name}feed"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "fr"
    for needed in ("id", "title", "updated", "author"):
        assert root.find(name + needed) is not None
    assert root.findtext(f"{name}rights") == "Etalab Open License 2.0 (etalab-2.0)"
    assert root.findtext(f"{name}updated") == "2026-11-27T12:00:00Z"
    links = {each.get("rel"): each.get("href") for each in root.findall(f"{name}link")}
    assert links == {
        "alternate": "https://x.example/public/changes?lang=fr",
        "self": "https://x.example/public/changes.atom?lang=fr",
    }
    first = root.findall(f"{name}entry")[0]
    assert first.findtext(f"{name}title") == "A <b> & c: Boîtiers ajoutés\xa0: 3."
    assert (first.findtext(f"{name}id") or "").startswith("urn:uuid:")


def test_each_purpose_has_elements_of_dtpr_and_each_element_a_name() -> None:
    assert set(dtpr.ELEMENTS_BY_PURPOSE) == {each.name for each in PURPOSES}
    used = {
        name
        for elements in dtpr.ELEMENTS_BY_PURPOSE.values()
        for names in elements.values()
        for name in names
    }
    assert used <= dtpr.ELEMENT_NAMES.keys()
    entry = site(
        *(purpose(each.name, sensitive=each.sensitive, open_data=not each.sensitive) for each in PURPOSES)
    )
    found = dtpr.build_datachains(entry, ENGLISH)["datachains"]
    assert len(found) == len(PURPOSES)
    for chain in found:
        categories = {each["id"] for each in chain["datachain"]["categories"]}
        ids = [each["element_id"] for each in chain["instance"]["elements"]]
        assert {each["category_id"] for each in chain["instance"]["elements"]} <= categories
        assert set(ids) <= dtpr.ELEMENT_NAMES.keys()
        # Of where an operator stores its data nothing is known.
        assert all(each["category_id"] != "storage" for each in chain["instance"]["elements"])
    acoustic = next(each for each in entry.purposes if each.purpose == "acoustic_safety")
    ids = [each.id for each in dtpr.select_elements(entry, acoustic, ENGLISH)]
    assert "not_available_to_me" in ids
    assert "available_to_download" not in ids


def test_a_grant_makes_the_metrics_of_its_purpose_available_to_third_parties() -> None:
    granted = PublishedGrant(SITE, "Research", None, ["pm2_5", "no2"], NOW + timedelta(days=9))
    entry = site(purpose("noise"), purpose("air_quality"), grants=(granted,))
    noise, air = ({one.id for one in dtpr.select_elements(entry, each, ENGLISH)} for each in entry.purposes)
    assert "available_to_3rd_parties" in air
    assert "available_to_3rd_parties" not in noise


def test_data_are_retained_in_the_words_of_dtpr_only_where_they_are_removed() -> None:
    each = purpose("noise")
    for retention, kept in (
        (RetentionSettings(30, removes=True), ["30\xa0jours"]),
        (RetentionSettings(30), []),
        (RetentionSettings(), []),
    ):
        entry = PublishedSite(
            SITE, "T", "n", "street", "UTC", 100, 0, 0, retention, NOW, purposes=(each,)
        )  # fmt: skip
        found = [
            one.variables["duration"].replace(" ", "\xa0")
            for one in dtpr.select_elements(entry, each, FRENCH)
            if one.category == "retention"
        ]
        assert found == kept


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        (None, "en;q=0.5, fr;q=0.4", "en"),
        (None, "de, fr;q=0.1", "fr"),
        (None, "fr;q=x", "en"),
        ("fr", "en", "fr"),
        ("de", "fr", "fr"),
    ],
)
def test_languages(asked: str | None, accepted: str, language: str) -> None:
    assert negotiate_language(asked, accepted) == language


def texts() -> Iterator[tuple[str, str]]:
    for module in (page_texts, legal_texts, change_texts, dtpr):
        for table in vars(module).values():
            if isinstance(table, dict | MappingProxyType):
                for text in table.values():
                    yield from (
                        text if isinstance(text, tuple) and not isinstance(text, BilingualText) else [text]
                    )
    for heading, paragraphs in about_texts.ABOUT:
        yield from (heading, *paragraphs)


def test_both_languages_say_the_same_things() -> None:
    pairs = [each for each in texts() if isinstance(each, BilingualText)]
    assert len(pairs) > 150
    for pair in pairs:
        assert pair.en.strip()
        assert pair.fr.strip()
        fields = [sorted(part.split("}")[0] for part in each.split("{")[1:]) for each in pair]
        assert fields[0] == fields[1], pair.en


def test_search_heeds_neither_case_nor_accents() -> None:
    entry = site(purpose("noise"), name="Médiathèque José-Cabanis")
    for q, found in (("mediatheque CABANIS", 1), ("toulouse", 1), ("gare", 0), ("", 1)):
        assert len(search_sites(register(entry), SiteSearchQuery(q)).sites) == found
    assert len(search_sites(register(entry), SiteSearchQuery(purpose="noise")).sites) == 1
    assert search_sites(register(entry), SiteSearchQuery(purpose="odour")).sites == []


def test_what_others_wrote_is_escaped() -> None:
    entry = site(purpose("noise"), name="<script>alert(1)</script>")
    html = render_index_page(register(entry), SiteSearchQuery(q='"><img src=x>'), PageContext(ENGLISH, NOW))
    assert "<script>alert" not in html
    assert "<img" not in html


def test_the_policy_lets_in_tiles_and_nothing_else() -> None:
    assert "tile" not in build_page_csp(MapTileSource())
    tiles = MapTileSource("https://{s}.tiles.example:8443/{z}/{x}/{y}.png", kind="url")
    assert "img-src 'self' data: https://*.tiles.example:8443;" in build_page_csp(tiles)
    for word in ("unsafe", "script-src", " * "):
        assert word not in build_page_csp(tiles)
    # An archive is served by the API itself.
    assert build_page_csp(MapTileSource("/public/tiles.pmtiles", kind="vector")) == build_page_csp(
        MapTileSource()
    )


def test_a_mean_of_levels_is_that_of_the_energy() -> None:
    values = [SiteMean(NOW, 60.0, 1), SiteMean(NOW, 70.0, 1)]
    assert line_charts.compute_weighted_mean(METRICS_BY_NAME["laeq"], values) == pytest.approx(
        67.404, abs=1e-3
    )
    assert line_charts.compute_weighted_mean(
        METRICS_BY_NAME["pm10"], [SiteMean(NOW, 10, 3), SiteMean(NOW, 20, 1)]
    ) == pytest.approx(12.5)


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    hours = [0, 1, 2, 9, 10]
    values = [SiteMean(NOW - timedelta(hours=20 - hour), 10.0 + hour, 60) for hour in hours]
    paris = RegisterFormatter("fr", ZoneInfo("Europe/Paris"))
    drawn = line_charts.draw_line_chart(METRICS_BY_NAME["pm10"], values, "hour", NOW, paris)
    assert drawn.path.count("M") == 2
    assert drawn.path.count("l") == 2
    # A point alone has a size.
    alone = line_charts.draw_line_chart(METRICS_BY_NAME["pm10"], values[:1], "hour", NOW, paris)
    assert alone.path.count("a2 2") == 2
    assert "entre 10,0\xa0µg/m³ et 20,0\xa0µg/m³" in drawn.alt_text


async def test_a_crowd_waits_for_one_read_and_sees_what_was_there_when_it_fails() -> None:
    cache, reads = TtlCache(most=2), 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise OSError
        return reads

    assert [await cache.get("a", 10, read) for _ in range(3)] == [1, 1, 1]
    # Too old, and the database is away.
    assert await cache.get("a", 0, read) == 1
    with pytest.raises(OSError):  # noqa: PT011 (nothing was ever there)
        await cache.get("b", 10, read)


def test_outlines_of_land_go_on_beyond_the_antimeridian() -> None:
    """A ring that jumps from 180° east to 180° west is drawn as stripes over the whole map."""
    land = json.loads((FOLDER / "land.json").read_text(encoding="utf-8"))
    rings = [ring for polygon in land["polygons"] for ring in polygon]
    assert len(rings) > 400
    # The south pole's land goes all around.
    around = [ring for ring in rings if any(abs(step) > 18_000 for step in ring[2::2])]
    assert [ring[1] < -8_000 for ring in around] == [True]
    # Most of a ring is on the map.
    for ring in rings:
        longitudes = list(accumulate(ring[::2]))
        assert abs(sum(longitudes) / len(longitudes)) <= 18_000, ring[:2]


LIBRARIES: Final = {
    "leaflet/leaflet.js": "db49d009c841f5ca34a888c96511ae936fd9f5533e90d8b2c4d57596f4e5641a",
    "leaflet/leaflet.css": "a7837102824184820dfa198d1ebcd109ff6d0ff9a2672a074b9a1b4d147d04c6",
    "leaflet/LICENSE.txt": "53e8dc25862014e4324741ca18fbe3611e11d42ef69f59f86ea8c5389647d4cb",
    "protomaps/protomaps-leaflet.js": "26af014f7b1af308ec120b791cff76657bb9c3383633b52033e6edf9e5e4cdb5",
    "protomaps/LICENSE.txt": "a2ada548aa25012e833b71364a402d6924f2afcf5f8f146e2989a377290ab3ad",
}


def test_the_libraries_files_are_those_of_its_package_and_go_into_the_wheel() -> None:
    for name, digest in LIBRARIES.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert there == {*load_static_files(), "SOURCES.md"}
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "app" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_own_files_name_no_other_host() -> None:
    for name in ("register.css", "ground.css", "ground.js", "map.js", "near.js", "share.js"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert "//" not in text.replace("// ", ""), name


def test_what_is_packed_is_the_same() -> None:
    made = CachedResponse.of(b"a" * 5_000, "text/plain")
    assert made.packed is not None
    assert len(made.packed) < 100
    assert CachedResponse.of(b"a", "text/plain").packed is None


@pytest.mark.parametrize("odd", ["\ufffe", "\uffff", "\x0b", "\ud800"])
def test_no_name_makes_a_feed_unreadable(odd: str) -> None:
    change = RegisterChange(1, NOW, SITE, f"A{odd}B", "site_renamed", {"from": f"C{odd}"})
    data = atom_feed.build_atom_feed(
        [ChangeHistoryEntry(change, change)],
        ENGLISH,
        base="https://x.example",
        path="/public/changes",
        title=odd,
        now=NOW,
    )
    root = ET.fromstring(data)  # noqa: S314 (our own)
    said = root.findtext(f"{{{atom_feed.NAMESPACE}}}entry/{{{atom_feed.NAMESPACE}}}title") or ""
    assert said.startswith("A\ufffdB: ")


def test_no_other_sites_page_shows_one_in_a_frame() -> None:
    assert build_page_csp(MapTileSource()).endswith("frame-ancestors 'none'")
