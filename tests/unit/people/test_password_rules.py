"""Which passwords people may choose."""

import re

import pytest

from app.people import password_rules
from app.people.password_rules import PASSWORD_MAX_LENGTH, check_password, normalise_password
from app.platform.kernel.errors import InvalidError

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
        "basketball123",
        "B@sketball2026!",
        "iloveyouforever",
        "Charlotte1234",
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
    assert normalise_password(composed) == normalise_password(apart)


class Counting:
    """Repetitions that are looked for as ever, and counted."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self.searched: list[int] = []

    def sub(self, replacement: str, password: str) -> str:
        self.searched.append(len(password))
        return self._pattern.sub(replacement, password)


def repeating(levels: int) -> str:
    """What repeats what repeats … something: each search takes one of them away."""
    password = "x"
    for level in range(levels):
        password = password * 2 + "jkvw"[level % 4]
    return password


def test_what_repeats_itself_over_and_over_is_searched_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(password_rules._REPEATED)
    monkeypatch.setattr(password_rules, "_REPEATED", counting)
    assert refusal(repeating(8)[:PASSWORD_MAX_LENGTH]) is None
    # Once for each of the two rules.
    assert len(counting.searched) == 2 * password_rules._REPETITION_DEPTH


def test_what_is_too_long_is_not_searched_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(password_rules._REPEATED)
    monkeypatch.setattr(password_rules, "_REPEATED", counting)
    # Nothing of it is anybody's own: were it judged, it would be too common.
    assert refusal("password" * 100) == "password_too_long"
    assert counting.searched == []
