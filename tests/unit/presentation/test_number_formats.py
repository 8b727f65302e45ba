import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.presentation.languages import Language
from app.presentation.number_formats import (
    format_count,
    format_exact_measurement,
    format_exact_number,
    format_length,
    format_percent,
    format_resolved_measurement,
    format_whole_percent,
    parse_number,
)
from app.presentation.typography import NO_VALUE


@pytest.mark.parametrize(
    ("value", "english", "french"),
    [
        (31.2, "31.2", "31,2"),
        (25.0, "25", "25"),
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (-12.345, "-12.35", "-12,35"),
        (1002.37, "1,002.37", "1\u202f002,37"),
        (-1_234_567.0, "-1,234,567", "-1\u202f234\u202f567"),
        (0.012345, "0.0123", "0,0123"),
        (0.5, "0.5", "0,5"),
        (1e-12, "0", "0"),
        (-1e-12, "0", "0"),
        (1e300, "1e+300", "1e+300"),
        (1.5e300, "1.5e+300", "1,5e+300"),
    ],
)
def test_numbers(value: float, english: str, french: str) -> None:
    assert (format_exact_number(value, "en"), format_exact_number(value, "fr")) == (english, french)


@pytest.mark.parametrize(
    ("text", "english", "french"),
    [
        ("10,000", 10_000, 10),
        ("1,000,000.5", 1_000_000.5, None),
        ("2,5", None, 2.5),
        ("2.5", 2.5, 2.5),
        ("10\u202f000", None, 10_000),
        ("10\xa0000,5", None, 10_000.5),
        ("10 000", None, 10_000),
        ("10 00", None, None),
        ("1,00,000", None, None),
        (",5", None, 0.5),
        ("-12", -12, -12),
        ("\N{MINUS SIGN}1.5", -1.5, -1.5),
        ("1e3", 1000, 1000),
        ("9007199254740993", 2**53 + 1, 2**53 + 1),
        *(
            (text, None, None)
            for text in ("", ".", "-", "1_0", "nan", "inf", "1e999", "9" * 5000, "\u0661", "5 m")
        ),
    ],
)
def test_a_typed_number_is_read_as_the_language_writes_it(
    text: str, english: float | None, french: float | None
) -> None:
    assert (parse_number(text, "en"), parse_number(text, "fr")) == (english, french)


@given(st.floats(min_value=-1e12, max_value=1e12), st.sampled_from(["en", "fr"]))
def test_a_number_is_read_as_it_was_shown(value: float, language: Language) -> None:
    shown = format_exact_number(value, language)
    read = parse_number(shown, language)
    assert read is not None
    assert format_exact_number(read, language) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_short(value: float) -> None:
    assert 0 < len(format_exact_number(value, "fr")) <= 24


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (31.2, "µg/m³", "31.2\xa0µg/m³", "31,2\xa0µg/m³"),
        (3, "", "3", "3"),
        (3, "1", "3", "3"),
        (84.5, "%RH", "84.5%", "84,5\u202f%"),
        (2, "%RH/h", "2%/h", "2\u202f%/h"),
        (12.5, "ou/m³", "12.5\xa0ou/m³", "12,5\xa0uoE/m³"),
    ],
)
def test_values_and_limits_are_as_they_were_written(
    value: float, unit: str, english: str, french: str
) -> None:
    assert format_exact_measurement(value, unit, "en") == english
    assert format_exact_measurement(value, unit, "fr") == french


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (12.345678, "µg/m³", "12.3\xa0µg/m³", "12,3\xa0µg/m³"),
        (123.45, "µg/m³", "123\xa0µg/m³", "123\xa0µg/m³"),
        (0.3456, "mg/m³", "0.35\xa0mg/m³", "0,35\xa0mg/m³"),
        (68.0449, "dB", "68.0\xa0dB", "68,0\xa0dB"),
        (1_234.5, "ppm", "1,234\xa0ppm", "1\u202f234\xa0ppm"),
        (54.6, "%RH", "55%", "55\u202f%"),
        (-0.04, "°C", "0.0\xa0°C", "0,0\xa0°C"),
        (3.0, "1", "3", "3"),
        (None, "dB", NO_VALUE, NO_VALUE),
        (float("nan"), "dB", NO_VALUE, NO_VALUE),
    ],
)
def test_statistics_have_the_digits_that_they_deserve(
    value: float | None, unit: str, english: str, french: str
) -> None:
    assert format_resolved_measurement(value, unit, "en") == english
    assert format_resolved_measurement(value, unit, "fr") == french


def test_percentages_have_a_space_in_french_alone() -> None:
    assert (format_percent(81.5, "en"), format_percent(81.5, "fr")) == ("81.5%", "81,5\u202f%")


@pytest.mark.parametrize(
    ("percent", "english"),
    [(100, "100%"), (99.97, "99%"), (0.2, "1%"), (0, "0%"), (49.6, "50%"), (130, "130%")],
)
def test_only_what_is_whole_is_a_hundred_percent(percent: float, english: str) -> None:
    assert format_whole_percent(percent, "en") == english
    assert format_whole_percent(percent, "fr") == english.replace("%", "\u202f%")


def test_lengths_are_in_metres_or_kilometres() -> None:
    lengths = [format_length(metres, "fr") for metres in (100, 900, 1000, 1500, 10_400, 1_234_000)]
    assert lengths == ["100\xa0m", "900\xa0m", "1\xa0km", "1,5\xa0km", "10\xa0km", "1\u202f234\xa0km"]


def test_nought_is_plural_in_english_and_singular_in_french() -> None:
    english, french = ("{} day", "{} days"), ("{} jour", "{} jours")
    assert [format_count(count, english, "en") for count in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
    assert [format_count(count, french, "fr") for count in (0, 1, 1234)] == [
        "0 jour",
        "1 jour",
        "1\u202f234 jours",
    ]
