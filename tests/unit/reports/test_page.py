"""What a page says: of a day and a month, of nothing, in both languages, whatever clients call things."""

import io
import re
from datetime import date, timedelta
from functools import cache
from html import unescape
from pathlib import Path
from string import Formatter

import msgspec
import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.method_registry import METHODS
from app.environmental_indices.period_selection import DatedPeriod
from app.presentation.local_formatter import LocalFormatter
from app.presentation.translation import BilingualText
from app.presentation.typography import typeset_text
from app.reports.render.box_names import clean_name
from app.reports.render.content_security_policy import TEMPLATES, build_report_csp
from app.reports.render.index_strips import SCALES
from app.reports.render.index_value_labels import choose_text_colour
from app.reports.render.main_findings import build_main_findings
from app.reports.render.pdf_writer import render_pdf
from app.reports.render.report_page import render_report
from app.reports.render.report_texts import CITATIONS_FR, COVERAGES_FR, SITE_KINDS, WORDS
from app.reports.report_input import (
    FlagCounts,
    HourlySummaries,
    ReportAlert,
    ReportInput,
    ReportLanguage,
    ReportLength,
    pack_report_input,
    unpack_report_input,
)
from app.reports.report_statistics import compute_report_statistics, count_silent_hours
from app.rules.presets.service import PRESET_SITE_KINDS
from app.timeseries.quality.sample_flagging import FLAGS
from tests.unit.reports.sheet import ALERTS, LEVELS, PARIS, make_report_input, parsed, sections, tables, text

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src="file:///etc/passwd">',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "</title><base href=//evil.example>",
    "url(file:///etc/passwd) {0} {band}",
    "&lt;b&gt; & \u202eevil",
)


def test_material_comes_out_of_its_packing_as_it_went_in() -> None:
    given_ = make_report_input(boxes=1, inside=True)
    assert unpack_report_input(pack_report_input(given_)) == given_


@pytest.mark.parametrize("length", ["day", "month"])
def test_a_page_has_all_its_parts(length: ReportLength) -> None:
    html = render_report(make_report_input(length=length)).html
    root = parsed(html)
    assert list(sections(root)) == [
        *(
            "short",
            "indices",
            "air",
            "noise",
            "comparison",
            "boxes",
            "alerts",
            "quality",
            "reading",
            "methods",
        )
    ]
    findings = [text(item) for item in root.findall(".//section[@class='short']/ul/li")]
    assert 3 <= len(findings) <= 6
    assert findings[0] == "2 boxes measured 100% of the expected values."
    assert "9 alerts began, 1 of them critical; the longest lasted 4 h." in text(root)
    assert "half of them within 5 min 40 s, the last one after 1 h 2 min" in text(root)
    # What the strip shows: of a day the hours, of a month the days.
    assert text(root).count("French air quality index") > 1
    words = text(sections(root)["short"])
    assert ("Hour by hour: European" if length == "day" else "Day by day: French") in words


def test_a_finding_names_the_place_that_the_table_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEVELS, "no2", 50.0)
    root = parsed(render_report(make_report_input(boxes=6)).html)
    said = next(each for each in map(text, root.iter("li")) if each.startswith("The WHO guideline"))
    rows = tables(root)["Indices and guidelines"]
    exceeded = [row for row in rows if "exceeded" in row["Compared with"] and row["Figure"].startswith("WHO")]
    assert exceeded
    for row in exceeded:
        assert row["Worst value"] in said
        assert row["Where"] in said


def keep_days(report: ReportInput, metric: str, days: int) -> ReportInput:
    """The same report, whose boxes measured a metric on the first days only."""
    last = report.first + timedelta(days=days - 1)
    end_us = DatedPeriod.of_days(report.first, last, PARIS).period.end_us

    def cut(found: HourlySummaries) -> HourlySummaries:
        columns = found.columns()
        chosen = columns.times < (end_us if found.metric == metric else report.made_us)
        return HourlySummaries.of(found.metric, columns.only(chosen))

    boxes = [msgspec.structs.replace(box, hours=[cut(each) for each in box.hours]) for box in report.boxes]
    return msgspec.structs.replace(report, boxes=boxes)


@pytest.mark.parametrize(("language", "partly"), [("en", "24 of 31 days"), ("fr", "24 jours sur 31")])
def test_that_no_guideline_was_exceeded_is_said_of_the_days_that_were_measured(
    monkeypatch: pytest.MonkeyPatch, language: ReportLanguage, partly: str
) -> None:
    monkeypatch.setitem(LEVELS, "no2", 10.0)
    formats = LocalFormatter(language)

    def find(report: ReportInput) -> str:
        begin, _, end = formats.translate(WORDS["short_who_none"]).partition("{metrics}")
        found = build_main_findings(compute_report_statistics(report), formats)
        return next((each for each in found if each.startswith(begin) and each.endswith(end)), "")

    whole = make_report_input(length="month", language=language)
    assert "NO₂" in find(whole)
    assert "31" not in find(whole)
    # Three quarters of 31 days are 24.
    assert f"NO₂ ({partly})" in find(keep_days(whole, "no2", 24))
    less = find(keep_days(whole, "no2", 23))
    assert "PM" in less
    assert "NO₂" not in less
    nothing = whole
    for metric in ("pm2_5", "pm10", "no2", "o3"):
        nothing = keep_days(nothing, metric, 1)
    assert find(nothing) == ""


def test_a_page_can_be_read_without_seeing_it() -> None:
    root = parsed(render_report(make_report_input(language="fr", boxes=5)).html)
    assert root.get("lang") == "fr"
    assert len(list(root.iter("h1"))) == 1
    for each in root.iter("svg"):
        if each.get("role") == "img":
            assert text(each.find("title")), "a picture says what it shows"  # type: ignore[arg-type]
        else:
            assert each.get("aria-hidden") == "true"
    data = [each for each in root.iter("table") if each.get("class") != "facts"]
    assert data
    for each in data:
        assert text(each.find("caption"))  # type: ignore[arg-type]
        assert all(cell.get("scope") == "col" for cell in each.iterfind("thead/tr/th"))
        assert all(cell.get("scope") == "row" for cell in each.iterfind("tbody/tr/th"))
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    assert {each.get("aria-labelledby") for each in root.iter("section")} <= set(ids)


def test_each_class_can_be_read_on_its_colour() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for bands in SCALES.values():
        for colour in [band.colour for band in bands if band.colour]:
            light, dark = sorted((luminance(colour), luminance(choose_text_colour(colour))), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_a_page_asks_for_nothing_and_runs_nothing() -> None:
    root = parsed(render_report(make_report_input()).html)
    tags = {each.tag for each in root.iter()}
    assert not tags & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "a",
        "base",
        "image",
        "use",
    }
    for each in root.iter():
        loading = {"src", "href", "style", "background"}
        assert not [
            name for name in each.attrib if name.rpartition("}")[2] in loading or name.startswith("on")
        ]
    style = next(root.iter("style")).text or ""
    assert "url(" not in style
    assert "@import" not in style
    meta = {each.get("http-equiv"): each.get("content") for each in root.iter("meta")}
    assert meta["Content-Security-Policy"] == build_report_csp()
    assert build_report_csp().startswith("default-src 'none'; style-src 'sha256-")


@cache
def plain_tags() -> list[str]:
    """The elements of a page whose names are plain."""
    of = make_report_input(boxes=1, site="A", box_name="B", organisation="C", kind="D")
    return [each.tag for each in parsed(render_report(of).html).iter()]


@settings(max_examples=20)
@given(name=st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=80)))
def test_names_are_text_wherever_they_stand(name: str) -> None:
    of = make_report_input(boxes=1, site=name, box_name=name, organisation=name, kind=name)
    page = render_report(of)
    root = parsed(page.html)
    # Whatever it is: the page has the parts that it always has, and the name as it was cleaned.
    assert [each.tag for each in root.iter()] == plain_tags()
    assert text(next(root.iter("h1"))) == re.sub(r"\s+", " ", clean_name(name)).strip()
    assert clean_name(name) in page.title


@pytest.mark.parametrize("boxes", [0, 2])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_site_without_data_gets_an_honest_report(boxes: int, language: ReportLanguage) -> None:
    root = parsed(render_report(make_report_input(boxes=boxes, silent=range(boxes), language=language)).html)
    assert list(sections(root)) == ["short", "alerts", "quality", "reading", "methods"]
    points = [text(item) for item in root.findall(".//section[@class='short']/ul/li")]
    assert len(points) == 1
    expected = {
        ("en", 0): "There are no boxes at this site",
        ("en", 2): "None of the site\u2019s boxes (2 boxes) measured anything",
        ("fr", 0): "Ce site n\u2019a aucun boîtier",
        ("fr", 2): "Aucun boîtier du site (2 boîtiers) n\u2019a mesuré quoi que ce soit",
    }
    assert points[0].startswith(expected[language, boxes])


def test_what_is_silent_is_told_and_is_no_mean() -> None:
    root = parsed(render_report(make_report_input(boxes=3, silent=[1])).html)
    assert "3 boxes measured 93% of the expected values; one was silent throughout." in text(root)
    assert "Silent all the time: box-0001." in text(sections(root)["quality"])
    assert "Measured nothing in this period." in text(sections(root)["boxes"])


def test_alerts_that_may_not_be_read_are_left_out_with_a_word() -> None:
    root = parsed(render_report(make_report_input(alerts=None)).html)
    assert text(sections(root)["alerts"]) == (
        "Alerts Left out: the requester of this report may not read alerts."
    )
    assert "alerts began" not in text(root)


def test_many_boxes_stay_readable() -> None:
    for count in (9, 30):
        root = parsed(render_report(make_report_input(boxes=count)).html)
        found = tables(sections(root)["boxes"])
        assert [len(each) for each in found.values()] == [count]
        # Each chart draws three things, and says which.
        for figure in sections(root)["air"].iter("figure"):
            keys = [text(item) for item in figure.iterfind("ul/li")]
            assert keys[:2] == [f"Lowest to highest of {count} boxes", "Median of the boxes"]
            assert len(keys) == 3
        note = f"The 8 boxes with the worst values are shown; {count - 8} others"
        assert note in text(root)


def test_rooms_have_their_own_figures() -> None:
    root = parsed(render_report(make_report_input(inside=True, boxes=2, length="month")).html)
    assert "rooms" in sections(root)
    titles = [row["Figure"] for row in next(iter(tables(sections(root)["indices"]).values()))]
    assert any(title.startswith("Indoor CO₂") for title in titles)
    assert "Day by day: Indoor CO₂" in text(root)


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 10, 24), 24)]
)
def test_days_on_which_clocks_change_have_the_hours_that_they_had(day: date, hours: int) -> None:
    of = make_report_input(first=day)
    root = parsed(render_report(of).html)
    strip = root.find(".//figure[@class='wide strip']")
    assert strip is not None
    assert len(list(strip.iterfind(".//tbody/tr"))) == hours
    assert (f"a day of {hours} hours" in text(root)) == (hours != 24)
    report = compute_report_statistics(of)
    assert report.boxes[0].now["pm2_5"].count == hours * 12
    assert report.boxes[0].now["pm2_5"].coverage == 100
    assert count_silent_hours(report.boxes[0], report.slot.period) == (0, 0)


def test_a_day_of_noise_that_is_not_over_has_no_level_yet() -> None:
    of = make_report_input()
    early = {name: getattr(of, name) for name in of.__struct_fields__} | {
        "made_us": compute_report_statistics(of).slot.period.end_us + 1
    }
    root = parsed(render_report(ReportInput(**early)).html)
    assert "Not available yet: Day-evening-night level of one day." in text(root)
    assert "Lden" not in text(sections(root)["short"])


def placeholders(words: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(words) if name is not None}


def test_both_languages_say_the_same_things() -> None:
    for key, words in WORDS.items():
        assert words.en.strip(), key
        assert words.fr.strip(), key
        assert placeholders(words.en) == placeholders(words.fr), key
    assert set(COVERAGES_FR) == set(METHODS)
    assert set(CITATIONS_FR) <= {method.citation.document for method in METHODS.values()}
    assert set(PRESET_SITE_KINDS) <= set(SITE_KINDS)
    assert set(FLAGS) <= set(WORDS)
    assert all(words.en and words.fr for words in SITE_KINDS.values())


def test_templates_have_no_words_of_their_own() -> None:
    for path in TEMPLATES.glob("*.html"):
        source = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", path.read_text(), flags=re.DOTALL)
        shown = re.sub(r"<[^>]*>", "", source)
        assert not re.findall(r"[A-Za-z]{2,}", shown.replace("\n", " ")), path.name


def words_of(page: str) -> set[str]:
    """The texts of a page's elements, but for numbers and what is called alike in both languages."""
    return {
        part
        for each in parsed(page).iter()
        for part in [(each.text or "").strip(), (each.tail or "").strip()]
        if each.tag not in {"style", "script"} and re.search(r"[a-z]{4}", part)
    }


# Names, units, sources and words that are the same in both.
ALIKE = re.compile(
    r"box-\d+|Europe/Paris|Fine particles|Ville d|Rue d|Lden|Humidex|Place|Minimum|Maximum|Information|Total|"
    r"Air|Class|Client|Page|mai|dB|Degraded|Critical|version \d|Ozone"
)


@pytest.mark.parametrize("length", ["day", "month"])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_left_untranslated(length: ReportLength, *, inside: bool) -> None:
    english, french = (
        words_of(render_report(make_report_input(length=length, language=language, inside=inside)).html)
        for language in ("en", "fr")
    )
    # What has a title of its own is cited by it.
    sources = {typeset_text(method.citation.document, "en") for method in METHODS.values()}
    sources -= {typeset_text(document, "en") for document in CITATIONS_FR}
    alike = {part for part in english & french if not ALIKE.search(part)}
    assert {part for part in alike if not any(source in part for source in sources)} == set()


def test_every_word_is_used() -> None:
    sources = "".join(
        path.read_text() for path in Path(TEMPLATES).parent.rglob("*") if path.suffix in {".py", ".html"}
    )
    made = {
        f"read_{each}{more}"
        for each in ("day", "measured", "worst", "decibels", "alerts", "sensors")
        for more in ("", "_text")
    }
    unused = [
        key
        for key in WORDS
        if key not in made | set(FLAGS)
        and len(re.findall(f"[\"']{key}[\"']", sources)) < 2
        and f"words.{key}" not in sources
    ]
    assert unused == []


def test_one_day_above_is_not_taken_for_a_breach_of_a_guideline(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"en": "3 to 4 days a year may exceed", "fr": "3 à 4 jours par an peuvent être au-dessus"}
    for language, words in told.items():
        monkeypatch.setitem(LEVELS, "no2", 50.0)
        root = parsed(render_report(make_report_input(length="month", language=language)).html)  # type: ignore[arg-type]
        said = [text(item) for item in root.findall(".//section[@class='short']/ul/li")]
        assert any("NO₂" in each and words in each for each in said), said
        # Each of the methods says so too, whether something was exceeded or not.
        terms = [text(each) for each in sections(root)["methods"].iter("div") if each.get("class") == "term"]
        assert {words in each for each in terms if "who-24h," in each or "who-o3-8h," in each} == {True}
        assert not [each for each in terms if words in each and "who-" not in each]
    for metric in ("pm2_5", "pm10", "no2", "o3"):
        monkeypatch.setitem(LEVELS, metric, 1.0)
    root = parsed(render_report(make_report_input()).html)
    assert "3 to 4 days" not in text(sections(root)["short"])


def test_levels_stand_above_the_plot_and_not_on_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEVELS, "no2", 50.0)
    for inside, key, words in ((False, "air", "WHO, 24 h: 25 µg/m³"), (True, "rooms", "above: 800 ppm · ")):
        root = parsed(render_report(make_report_input(length="month", inside=inside)).html)
        found = [each for each in sections(root)[key].iter("text") if each.get("class") == "limits"]
        assert any(words in text(each) for each in found)
        for svg in sections(root)[key].iter("svg"):
            lines = [float(each.get("y1", "")) for each in svg.iter("line")]
            assert all(float(each.get("y", "")) < min(lines) for each in svg if each in found)


def test_where_there_are_no_values_none_is_said_to_have_no_flag() -> None:
    flags = FlagCounts(0, dict.fromkeys(FLAGS, 0))
    for language, words in (("en", "has a flag"), ("fr", "signalée")):
        none, some = (
            text(
                sections(parsed(render_report(make_report_input(language=language, **more)).html))["quality"]  # type: ignore[arg-type]
            )
            for more in (
                {"silent": [0, 1], "flags": flags},
                {"flags": FlagCounts(9, dict.fromkeys(FLAGS, 0))},
            )
        )
        assert words not in none
        assert words in some


def test_in_french_a_box_is_no_place_that_one_is_at() -> None:
    said = text(sections(parsed(render_report(make_report_input(language="fr")).html))["short"])
    assert "au boîtier box-000" in said
    assert "celui du boîtier box-000" in said
    said = text(
        sections(
            parsed(
                render_report(make_report_input(language="fr", boxes=1, box_name="Place du Capitole")).html
            )
        )["short"]
    )
    assert "au boîtier « Place du Capitole » (" in said
    assert " à Place" not in said


def test_apostrophes_are_all_of_one_kind_but_in_names() -> None:
    for language in ("en", "fr"):
        for inside in (False, True):
            of = make_report_input(language=language, inside=inside, site="A", length="month")
            assert "'" not in text(parsed(render_report(of).html).find("body"))  # type: ignore[arg-type]
    assert text(next(parsed(render_report(make_report_input(site="L'Île")).html).iter("h1"))) == "L'Île"


def test_units_are_not_broken_over_lines() -> None:
    root = parsed(render_report(make_report_input(length="month", language="fr")).html)
    whole = [each for each in root.iter("span") if each.get("class") == "unbroken"]
    assert {text(each).split()[-1] for each in whole} == {"µg/m³"}
    for each in root.iter():
        if each.tag in {"title", "text", "style"} or each in whole:
            continue
        assert "/m³" not in (each.text or "")
        assert not [child for child in each if "/m³" in (child.tail or "")]


def heads_of_indices(box_name: str) -> dict[str, float]:
    """Where on paper the heads of the columns stand: each in one piece, from the left."""
    of = make_report_input(language="fr", boxes=1, box_name=box_name)
    found: dict[str, float] = {}

    def visit(said: str, page: list[float], line: list[float], *_: object) -> None:
        if said.strip() in {"Grandeur", "Pire valeur", "Classe", "Référence", "Où", "Mesuré"}:
            found[said.strip()] = round(page[0] * line[4] + page[4], 1)

    # The first page alone, which has all heads and, before them, one "Mesuré" of the tiles.
    pypdf.PdfReader(io.BytesIO(render_pdf(render_report(of)))).pages[0].extract_text(visitor_text=visit)
    return found


# As clients call rules and boxes: some with long names, some without a space in them.
RULE_NAMES = (
    "Formaldéhyde intérieur au-dessus de 100 µg/m³",
    "Fine particles, mean of five minutes, in steps",
    "Noise-at-night-mean-of-an-hour-by-the-school",
)
BOX_NAMES = (
    "Sensor.Community 11199: SDS011 21997, DHT22 21998",
    "Cour de l'école élémentaire Jean-Jaurès, façade nord-ouest",
    "une-station-sans-aucune-espace-dans-son-nom",
    None,
)


def printed(length: ReportLength, language: ReportLanguage, boxes: int, *, inside: bool) -> tuple[str, bytes]:
    """A report as a PDF, and the page that it is of."""
    severities = ("info", "warning", "critical")
    longest = [
        ReportAlert(
            RULE_NAMES[n % 3],
            severities[n % 3],
            None if n == 3 else f"box-{n % boxes:04d}",
            (1_790_000_000 + n * 5_000) * 1_000_000,
            None if n == 4 else (1_790_000_000 + n * 5_400) * 1_000_000,
        )
        for n in range(10)
    ]
    of = make_report_input(
        length=length,
        language=language,
        boxes=boxes,
        inside=inside,
        alerts=msgspec.structs.replace(ALERTS, longest=longest),
    )
    named_boxes = [
        msgspec.structs.replace(box, name=BOX_NAMES[n] if n < len(BOX_NAMES) else None)
        for n, box in enumerate(of.boxes)
    ]
    page = render_report(msgspec.structs.replace(of, form="pdf", boxes=named_boxes))
    return page.html, render_pdf(page)


@pytest.mark.parametrize(
    ("length", "language", "boxes", "inside"),
    [
        ("day", "en", 4, False),
        ("day", "fr", 12, True),
        ("month", "fr", 1, False),
        ("month", "en", 2, True),
    ],
)
def test_on_paper_no_word_is_broken_and_the_last_page_is_not_nearly_empty(
    length: ReportLength, language: ReportLanguage, boxes: int, *, inside: bool
) -> None:
    html, made = printed(length, language, boxes, inside=inside)
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages]
    letters = re.compile(r"[^\W\d_]{2,}")
    said = unescape(re.sub(r"<[^>]+>", " ", html.replace("<wbr>", "")))
    known = {word.casefold() for word in letters.findall(said)}
    # Names without a space, and addresses of sources, are longer than a column: they may be broken.
    long = " ".join(re.findall(r"\S{25,}", said))
    broken = [
        word
        for page in pages
        for word in letters.findall(page)
        if word.casefold() not in known and word not in long
    ]
    assert broken == []
    assert len(pages) > 1
    assert len(pages[-1].splitlines()) >= 30, pages[-1]


def test_a_long_name_leaves_the_table_of_indices_its_columns() -> None:
    short, long = heads_of_indices("B"), heads_of_indices("Rue de la République, numéro 11")
    assert len(short) == 6
    assert long == short


def test_formats_of_a_text_do_not_read_names_as_formats() -> None:
    formats = LocalFormatter("en", PARIS)
    assert formats.translate(BilingualText("{box}", "{box}")).format(box="{0.__class__}") == "{0.__class__}"
