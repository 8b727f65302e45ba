"""Numbers and times as each language writes them, with no more digits than they deserve."""

from datetime import date, datetime

import pytest

from app.platform.kernel.instants import from_datetime
from app.presentation.translation import BilingualText
from app.reports.render.charts import AxisScale, build_value_ticks, round_axis_bounds
from app.reports.render.report_formatter import NO_VALUE, ReportFormatter, clean_name, typeset_text
from tests.unit.reports.sheet import PARIS

EN, FR = ReportFormatter("en", PARIS), ReportFormatter("fr", PARIS)


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (12.345678, "µg/m³", "12.3\xa0µg/m³", "12,3\xa0µg/m³"),
        (123.45, "µg/m³", "123\xa0µg/m³", "123\xa0µg/m³"),
        (0.3456, "mg/m³", "0.35\xa0mg/m³", "0,35\xa0mg/m³"),
        (68.0449, "dB", "68.0\xa0dB", "68,0\xa0dB"),
        (1_234.5, "ppm", "1,234\xa0ppm", "1\u202f234\xa0ppm"),
        (54.6, "%RH", "55\xa0%", "55\xa0%"),
        (-0.04, "°C", "0.0\xa0°C", "0,0\xa0°C"),
        (3.0, "1", "3", "3"),
        (None, "dB", NO_VALUE, NO_VALUE),
        (float("nan"), "dB", NO_VALUE, NO_VALUE),
    ],
)
def test_values_have_the_digits_that_they_deserve(
    value: float | None, unit: str, english: str, french: str
) -> None:
    assert (EN.measured(value, unit), FR.measured(value, unit)) == (english, french)


def test_limits_are_as_their_source_has_them() -> None:
    assert [EN.limit(each, "µg/m³") for each in (15, 2.5, None)] == ["15\xa0µg/m³", "2.5\xa0µg/m³", NO_VALUE]
    assert FR.limit(2.5, "µg/m³") == "2,5\xa0µg/m³"


@pytest.mark.parametrize(
    ("percent", "english"),
    [(100, "100%"), (99.97, "99%"), (0.2, "1%"), (0, "0%"), (49.6, "50%"), (130, "130%")],
)
def test_only_what_is_whole_is_a_hundred_percent(percent: float, english: str) -> None:
    assert EN.percent(percent) == english
    assert FR.percent(percent) == english.replace("%", "\u202f%")


def test_dates_and_times_are_those_of_the_language() -> None:
    first, other = date(2026, 11, 1), date(2026, 11, 24)
    assert (EN.day(other), FR.day(other)) == ("Tuesday 24 November 2026", "mardi 24 novembre 2026")
    assert (EN.day(first), FR.day(first)) == ("Sunday 1 November 2026", "dimanche 1er\xa0novembre 2026")
    assert (EN.month(first), FR.month(first)) == ("November 2026", "novembre 2026")
    at = from_datetime(datetime(2026, 11, 24, 14, 5, tzinfo=PARIS))
    assert (EN.moment(at), FR.moment(at)) == ("24 November, 14:05", "24 novembre, 14\xa0h\xa005")
    assert (EN.duration(93_784), FR.duration(93_784)) == ("1\xa0d 2\xa0h", "1\xa0j 2\xa0h")
    assert EN.duration(0.2) == "0\xa0s"


def test_nought_is_plural_in_english_and_singular_in_french() -> None:
    one, several = BilingualText("{} day", "{} jour"), BilingualText("{} days", "{} jours")
    assert [EN.counted(count, one, several) for count in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
    assert [FR.counted(count, one, several) for count in (0, 1, 2)] == ["0 jour", "1 jour", "2 jours"]


def test_changes_have_a_sign_unless_they_are_none() -> None:
    assert [EN.signed(each, "dB") for each in (1.24, -1.24, 0.04)] == [
        "+1.2\xa0dB",
        "\u22121.2\xa0dB",
        "0.0\xa0dB",
    ]


def test_french_marks_stand_behind_spaces_that_do_not_break() -> None:
    assert typeset_text("Fait : l'air « bon » ; 75 % de 15 µg/m³ ?", "fr") == (
        "Fait\xa0: l\u2019air «\xa0bon\xa0»\u202f; 75\u202f% de 15\xa0µg/m³\u202f?"
    )


def test_names_of_clients_are_one_line_without_what_turns_a_page_around() -> None:
    assert clean_name(" A\nb\u202ec\x00 ") == "A bc"
    assert clean_name("\u200e") == NO_VALUE
    assert len(clean_name("x" * 500)) == 60


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.31), (0, 17), (47.2, 71.9), (-8.5, 3), (0, 1_900), (20, 20.001)]
)
def test_axes_are_round_and_hold_what_is_drawn(low: float, high: float) -> None:
    bottom, top, step = round_axis_bounds(low, high)
    assert bottom <= low
    assert top >= high
    assert 1 <= round((top - bottom) / step) <= 7
    marks = build_value_ticks(AxisScale(bottom, top, 100, 0), step, EN)
    assert len({mark.label for mark in marks}) == len(marks)
    assert (marks[0].at, marks[-1].at) == (100, 0)
