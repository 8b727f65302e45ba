"""The table of reason codes and how a refused value is shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.rejection_codes import (
    REJECTION_REASONS,
    InputRejection,
    RejectedError,
    format_rejected_value,
    get_rejection_status,
    get_rejection_title,
)


def test_codes_are_stable_words_with_a_status_of_a_refusal() -> None:
    for code, reason in REJECTION_REASONS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert reason.status in {400, 403, 404, 408, 413, 415, 422, 429}
        assert reason.title


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_json", 400),
        ("duplicate_key", 400),
        ("number_out_of_range", 400),
        ("unknown_box", 404),
        ("too_many_samples", 413),
        ("unsupported_encoding", 415),
        ("nul_in_text", 422),
        ("time_too_old", 422),
    ],
)
def test_status(code: str, status: int) -> None:
    assert get_rejection_status(code) == status
    assert InputRejection(code, "").status == status
    assert get_rejection_title(code) == REJECTION_REASONS[code].title


def test_an_unknown_code_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError):
        get_rejection_status("no_such_code")


def test_an_error_becomes_a_rejection_in_its_place() -> None:
    error = RejectedError("wrong_type", "x" * 500)
    assert error.rejection(seq=7, index=2) == InputRejection("wrong_type", "x" * 400, 7, 2)
    assert str(error).startswith("wrong_type: xxx")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (-0.5, "-0.5"),
        ("a", "'a'"),
        ("a\u202eb\n", r"'a\u202eb\n'"),
        ({"a": 1}, "an object"),
        ([1], "an array"),
        (10**300, "an integer of 997 bits"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert format_rejected_value(value) == text


def test_an_integer_of_any_size_can_be_shown() -> None:
    assert format_rejected_value(10**5_000) == "an integer of 16610 bits"


@given(st.text() | st.integers() | st.floats())
def test_what_is_shown_is_short_and_harmless(value: object) -> None:
    text = format_rejected_value(value)
    assert len(text) <= 43
    assert text.isprintable()
    assert all(each.isascii() or ("\u00c0" <= each <= "\u024f" and each.isalpha()) for each in text)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("été", "'été'"),
        ("Łódź", "'Łódź'"),
        (r"a\xe9", r"'a\\xe9'"),
        ("\uff12\uff10", r"'\uff12\uff10'"),
        ("a\u202eb", r"'a\u202eb'"),
        ("3\xd74", r"'3\xd74'"),
        ("\x00", r"'\x00'"),
    ],
)
def test_accents_are_shown_and_what_deceives_is_not(value: str, said: str) -> None:
    assert format_rejected_value(value) == said
