import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.email.mail_formats import (
    clean_line,
    clean_lines,
    describe_metric,
    format_count,
    format_duration,
    format_local_time,
    format_measurement,
    format_number,
    format_percent,
    get_mail_texts,
    get_metric_unit,
)
from app.notifications.email.mail_texts import ENGLISH, FRENCH, MailTexts
from app.presentation.translation import typeset_french


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
    assert (format_number(value, ENGLISH), format_number(value, FRENCH)) == (english, french)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_short(value: float) -> None:
    assert 0 < len(format_number(value, FRENCH)) <= 24


def test_values_have_the_unit_of_their_metric_or_of_its_function() -> None:
    assert format_measurement(31.2, get_metric_unit("pm2_5", None), FRENCH) == "31,2\xa0µg/m³"
    assert get_metric_unit("pm2_5", "rate") == "µg/m³/h"
    assert (
        get_metric_unit("pm2_5", "count"),
        get_metric_unit("unheard-of", None),
        get_metric_unit(None, None),
    ) == ("", "", "")
    assert format_measurement(3, "", ENGLISH) == "3"
    assert describe_metric("temperature", FRENCH) == "Température de l\u2019air (temperature)"
    assert describe_metric("temperature", ENGLISH) == "Air temperature (temperature)"
    assert describe_metric("new\none", ENGLISH) == "new one"
    assert format_percent(0.815, FRENCH) == "81,5\xa0%"


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0.4, "0\xa0s", "0\xa0s"),
        (59.6, "1\xa0min", "1\xa0min"),
        (905, "15\xa0min 5\xa0s", "15\xa0min 5\xa0s"),
        (3600, "1\xa0h", "1\xa0h"),
        (3605, "1\xa0h", "1\xa0h"),
        (2 * 86_400 + 3 * 3600 + 59, "2\xa0d 3\xa0h", "2\xa0j 3\xa0h"),
        (-5, "0\xa0s", "0\xa0s"),
    ],
)
def test_time_spans(seconds: float, english: str, french: str) -> None:
    assert (format_duration(seconds, ENGLISH), format_duration(seconds, FRENCH)) == (english, french)


def test_times_are_by_the_clocks_of_the_site() -> None:
    assert (
        format_local_time("2026-11-24T10:10:00Z", "Europe/Paris", FRENCH)
        == "24 novembre 2026 à 11\xa0h\xa010 (Europe/Paris)"
    )
    assert format_local_time("2026-07-31T22:10:09Z", "Europe/Paris", FRENCH, seconds=True) == (
        "1er août 2026 à 0\xa0h\xa010\xa0min\xa009\xa0s (Europe/Paris)"
    )
    assert (
        format_local_time("2026-11-24T10:10:00Z", "Asia/Kolkata", ENGLISH)
        == "24 November 2026 at 15:40 (Asia/Kolkata)"
    )
    for unknown in (None, "Mars/Olympus", "../etc/passwd", "/etc/passwd", "", "Europe", "a\0b", "x" * 5000):
        assert (
            format_local_time("2026-11-24T10:10:00Z", unknown, ENGLISH) == "24 November 2026 at 10:10 (UTC)"
        )
    assert (
        format_local_time("0001-01-01T00:00:00Z", "America/New_York", ENGLISH) == "1 January 1 at 00:00 (UTC)"
    )
    assert format_local_time("yesterday", None, ENGLISH) is None
    assert format_local_time(None, None, ENGLISH) is None


def test_what_others_wrote_is_one_line_without_what_is_invisible() -> None:
    assert clean_line(" a\r\n\tb\u2028c\u202ed\u2066\0 ", 20) == "a b cd"
    assert clean_line("\U0001f469\u200d\U0001f52c", 20) == "\U0001f469\u200d\U0001f52c"
    assert clean_line("12 345\xa0µg", 20) == "12 345\xa0µg"
    assert clean_line("abcdef", 4) == "abc…"
    assert clean_lines("a\n\n \u202e\nb\r\nc", 100) == ["a", "b", "c"]
    assert sum(map(len, clean_lines("abc\n" * 100, 50))) <= 50


def test_counts_have_a_form_for_one() -> None:
    forms = ("{} autre", "{} autres")
    assert [format_count(count, forms, FRENCH) for count in (1, 2, 1234)] == [
        "1 autre",
        "2 autres",
        "1\u202f234 autres",
    ]


def test_french_has_its_spaces_and_apostrophes() -> None:
    assert typeset_french("L'alerte : « oui » ; non ! si ?") == (
        "L\u2019alerte\xa0: «\xa0oui\xa0»\u202f; non\u202f! si\u202f?"
    )


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for each in value for text in _texts(each)]
    return [text for each in value.values() for text in _texts(each)] if isinstance(value, dict) else []


def _keys(texts: MailTexts) -> dict[str, object]:
    fields = {name: getattr(texts, name) for name in MailTexts.__dataclass_fields__}
    return {name: set(value) if isinstance(value, dict) else type(value) for name, value in fields.items()}


def test_both_languages_have_all_texts() -> None:
    same = {name: keys for name, keys in _keys(ENGLISH).items() if name not in ("digits", "apostrophes")}
    assert {name: _keys(FRENCH)[name] for name in same} == same
    texts = [text for name in same for text in _texts(getattr(FRENCH, name))]
    assert all(f" {mark}" not in text for text in texts for mark in ":;!?»%")
    assert all("'" not in text for text in texts)
    assert (get_mail_texts("fr"), get_mail_texts("en"), get_mail_texts("")) == (FRENCH, ENGLISH, ENGLISH)
