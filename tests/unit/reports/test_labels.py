"""No two boxes of a report are called alike, whole or cut."""

from hypothesis import given
from hypothesis import strategies as st

from app.presentation.typography import NO_VALUE
from app.reports.render.box_names import clean_name, make_unique_labels, shorten_labels
from app.reports.render.report_page import render_report
from app.reports.report_input import ReportBoxInput, ReportInput
from tests.unit.reports.sheet import make_report_input, parsed, sections, tables, text

NAMES = st.one_of(
    st.none(), st.sampled_from(["Quay", "Quay (b0)", "Quay (b1)", "b1", "Q" * 80]), st.text(max_size=70)
)


def test_a_name_that_several_have_is_told_apart_by_ids() -> None:
    boxes = [("b0", "Quay"), ("b1", "Quay "), ("b2", "Hall"), ("b3", None)]
    assert make_unique_labels(boxes) == ["Quay (b0)", "Quay (b1)", "Hall", "b3"]
    # One that calls itself as another one's id, or as a name with an id behind it.
    assert make_unique_labels([("b0", "b1"), ("b1", None)]) == ["b1 (b0)", "b1"]
    assert make_unique_labels([("b0", "Quay"), ("b1", "Quay"), ("b2", "Quay (b0)")]) == [
        "Quay (b0)",
        "Quay (b1)",
        "Quay (b0) (b2)",
    ]


@given(names=st.lists(NAMES, max_size=8))
def test_labels_are_told_apart_whatever_clients_call_their_boxes(names: list[str | None]) -> None:
    labels = make_unique_labels([(f"b{number}", name) for number, name in enumerate(names)])
    assert len(set(labels)) == len(names)
    short = shorten_labels(labels, 24)
    assert len(set(short)) == len(names)
    assert all(len(each) <= 24 for each in short)


def test_long_labels_are_cut_where_they_stay_different() -> None:
    street = "Rue de la République, numéro"
    assert shorten_labels([f"{street} 11", "Hall"], 24) == ["Rue de la République, n…", "Hall"]
    cut = shorten_labels([f"{street} 11", f"{street} 12", "Hall"], 24)
    assert cut == ["Rue de la R…e, numéro 11", "Rue de la R…e, numéro 12", "Hall"]
    # What differs in its middle alone.
    middle = [f"Rue de la République, côté {number} de la mairie neuve" for number in (1, 2)]
    assert [each[:3] for each in shorten_labels(middle, 24)] == ["1. ", "2. "]


def named(names: list[str]) -> ReportInput:
    of = make_report_input(boxes=len(names))
    boxes = [
        ReportBoxInput(each.id, name, each.interval_s, each.hours, each.figures, each.sampled)
        for each, name in zip(of.boxes, names, strict=True)
    ]
    fields = {name: getattr(of, name) for name in of.__struct_fields__} | {"boxes": boxes}
    return ReportInput(**fields)


def test_a_page_tells_boxes_of_one_name_apart_everywhere() -> None:
    root = parsed(render_report(named(["Quay", "Quay"])).html)
    labels = {"Quay (box-0000)", "Quay (box-0001)"}
    assert set(tables(sections(root)["boxes"])) == labels
    rows = tables(sections(root)["indices"])["Indices and guidelines"]
    for row in rows:
        assert not row["Where"] or any(label in row["Where"] for label in labels), row
    short = sections(root)["short"]
    assert any(f"at {label} (" in text(short) for label in labels)
    drawn = [text(each) for each in short.iter("text")]
    assert labels <= set(drawn)
    tiles = [text(each) for each in root.findall(".//ul[@class='tiles']/li")]
    assert not [tile for tile in tiles if "Quay" in tile and not any(label in tile for label in labels)]


def test_rows_of_a_strip_are_told_apart_though_their_names_are_long() -> None:
    names = [f"Rue de la République, numéro {number}" for number in (11, 12)]
    strip = sections(parsed(render_report(named(names)).html))["short"]
    drawn = [text(each) for each in strip.iter("text")]
    assert {"Rue de la R…e, numéro 11", "Rue de la R…e, numéro 12"} <= set(drawn)


def test_names_of_clients_are_one_line_without_what_turns_a_page_around() -> None:
    assert clean_name(" A\nb\u202ec\x00 ") == "A bc"
    assert clean_name("\u200e") == NO_VALUE
    assert len(clean_name("x" * 500)) == 60
