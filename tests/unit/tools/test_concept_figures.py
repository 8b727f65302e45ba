"""The figures of the concepts are those that the program draws, and are loaded by nobody else's means."""

import xml.etree.ElementTree as ET

import pytest

from tools.concept_figures import FIGURES, FOLDER, draw_figure


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_current(name: str) -> None:
    drawn = draw_figure(FIGURES[name])
    assert (FOLDER / f"{name}.svg").read_text() == drawn, "write it with: python -m tools.concept_figures"
    ET.fromstring(drawn)  # noqa: S314 (ours)
    assert "http" not in drawn.replace('xmlns="http://www.w3.org/2000/svg"', "")


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_boxes_of_a_figure_overlap(name: str) -> None:
    places = [(box.column, box.row) for box in FIGURES[name].boxes.values()]
    assert len(places) == len(set(places))
    for start, end, _ in FIGURES[name].arrows:
        assert {start, end} <= set(FIGURES[name].boxes)
