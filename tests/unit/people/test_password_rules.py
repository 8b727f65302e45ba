"""Which passwords people may choose."""

import time

import pytest

from app.core.errors import InvalidError
from app.people.password_rules import LONGEST, check_password, normal_password

ABOUT = ("Ada Lovelace", "ada.lovelace@example.com")


def refusal(password: str) -> str | None:
    try:
        check_password(password, ABOUT, field="body.password")
    except InvalidError as error:
        return error.code
    return None


def test_a_refusal_names_the_field_and_not_the_password() -> None:
    with pytest.raises(InvalidError) as caught:
        check_password("password1234", ABOUT, field="body.password")
    assert caught.value.extra["errors"][0]["field"] == "body.password"
    assert "password1234" not in caught.value.detail


@pytest.mark.parametrize(
    "password",
    [
        "quatre vaches sous la pluie",
        "correct horse battery",
        "Xk9#mQ2$vL7p",
        "\u0632\u0646\u0628\u0642 \u0627\u0644\u0648\u0627\u062f\u064a \u0627\u0644\u0623\u0628\u064a\u0636",
        "x" + "7fQz!" * 51,
    ],
)
def test_long_ones_that_are_nobodys_are_taken_whatever_they_are_made_of(password: str) -> None:
    assert refusal(password) is None


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "P@ssw0rd1234!",
        "p4ssw0rdp4ssw0rd",
        "MotDePasse2026",
        "AZERTYUIOP12",
        "qwertyuiopas",
        "poiuytrewq12",
        "123456789012",
        "210987654321",
        "aaaaaaaaaaaa",
        "abcabcabcabc",
        "vigievigievigie",
        "administrator",
        "\u00e9" * 12,
    ],
)
def test_what_everybody_tries_is_refused(password: str) -> None:
    assert refusal(password) == "password_too_common"


@pytest.mark.parametrize(
    "password", ["ada.lovelace!", "AdaLovelace2026", "lovelace1234ada", "ada@example.com"]
)
def test_what_is_made_of_the_person_is_refused(password: str) -> None:
    assert refusal(password) == "password_about_you"


def test_lengths_are_those_of_what_is_hashed() -> None:
    assert refusal("x7!kQz93mWp") == "password_too_short"
    assert refusal("x7!kQz93mWpR") is None
    assert refusal("x7!kQz9" * 37) == "password_too_long"
    # One character that stands for eighteen.
    assert refusal("\ufdfa" * 20) == "password_too_long"


def test_each_keyboard_writes_the_same_one() -> None:
    composed, apart = "caf\u00e9 sous la pluie", "cafe\u0301 sous la pluie"
    assert composed != apart
    assert check_password(composed, (), field="x") == check_password(apart, (), field="x")
    assert normal_password(composed) == normal_password(apart)


@pytest.mark.parametrize("password", ["a1" * 128, "ab" * 64 + "c" * 128, "x" * 127 + "y" * 129])
def test_none_takes_long_to_judge(password: str) -> None:
    began = time.perf_counter()
    refusal(password[:LONGEST])
    assert time.perf_counter() - began < 0.5
