"""Which passwords people may choose (NIST SP 800-63B-4): long ones, none that all try first. Pure.

No classes of characters are asked for, and nothing expires. What counts is what is left of a password once
the words that are in everybody's, the rows of keyboards, what is said twice, and the person's own name and
address are taken out of it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from app.platform.kernel.errors import InvalidError

PASSWORD_MIN_LENGTH: Final = 12
PASSWORD_MAX_LENGTH: Final = 256
_LEAST_LEFT: Final = 6
_SHORTEST_WORD: Final = 3
# Written as leet is read: `_LEET` maps 1 to l, 0 to o, and so on.
_WORDS: Final = (
    *("administrateur", "administrator", "motdepasse", "bienvenue", "changeme", "iloveyou", "password"),
    *("passwort", "passw", "passe", "pass", "azerty", "qwerty", "qwertz", "welcome", "bonjour", "coucou"),
    *("letmein", "secret", "admin", "login", "master", "default", "vigie", "user", "test", "root"),
    *("soleil", "sunshine", "princess", "princesse", "doudou", "loulou", "chouchou", "jetaime", "marseille"),
    *("football", "baseball", "superman", "batman", "pokemon", "dragon", "monkey", "shadow", "michael"),
)
_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    *(
        "01234567890",
        "qwertyuiop",
        "asdfghjkl",
        "zxcvbnm",
        "azertyuiop",
        "qsdfghjklm",
        "wxcvbn",
        "qwertzuiop",
    ),
)
_RUNS: Final = _ROWS + tuple(row[::-1] for row in _ROWS)
_SHORTEST_RUN: Final = 3
_LEET: Final = str.maketrans("0134578@$!|", "oleastbasil")
# What repeats what is repeated, and so on: nobody remembers more of that, and each one costs a search.
_FOLDS: Final = 8
_REPEATED: Final = re.compile(r"(.+?)\1+", re.DOTALL)


def normalise_password(password: str) -> str:
    """A password as it is hashed: in normal form KC, so that each keyboard writes the same one."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, about: Sequence[str], *, field: str) -> str:
    """Check a password that somebody chose.

    Args:
        password: As it was given.
        about: The person's name and e-mail address.
        field: Where it was given, for the error.

    Returns:
        What is to be hashed.

    Raises:
        InvalidError: `password_too_short`, `password_too_long`, `password_too_common`, `password_about_you`.
    """
    normal = normalise_password(password)
    if len(normal) < PASSWORD_MIN_LENGTH:
        raise InvalidError(
            f"A password has at least {PASSWORD_MIN_LENGTH} characters: some words in a row do well.",
            code="password_too_short",
        ).at(field)
    if len(normal) > PASSWORD_MAX_LENGTH:
        raise InvalidError(
            f"A password has at most {PASSWORD_MAX_LENGTH} characters.", code="password_too_long"
        ).at(field)
    plain = _plain(normal)
    if len(_rest(plain, _WORDS)) < _LEAST_LEFT:
        raise InvalidError(
            "The password is among those that are tried first: choose one that nobody else has.",
            code="password_too_common",
        ).at(field)
    if len(_rest(plain, (*_own_words(about), *_WORDS))) < _LEAST_LEFT:
        raise InvalidError(
            "The password is made of your name or address: choose another one.", code="password_about_you"
        ).at(field)
    return normal


def _plain(text: str) -> str:
    """In lower case and without accents."""
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(letter)
    )


def _own_words(about: Iterable[str]) -> list[str]:
    words = {word for text in about for word in re.split(r"[^a-z0-9]+", _plain(text))}
    return sorted((word for word in words if len(word) >= _SHORTEST_WORD), key=len, reverse=True)


def _rest(plain: str, words: Iterable[str]) -> str:
    """What is left of a password without what anybody would guess."""
    for word in words:
        plain = _without(plain, word)
    plain = _without_runs(plain)
    for _ in range(_FOLDS):
        once = _REPEATED.sub(r"\1", plain)
        if once == plain:
            break
        plain = once
    return plain


def _without(plain: str, word: str) -> str:
    # Digits stand for letters in the one, for themselves in the other.
    for read in (plain, plain.translate(_LEET)):
        place = read.find(word)
        if place >= 0:
            return _without(plain[:place] + plain[place + len(word) :], word)
    return plain


def _without_runs(plain: str) -> str:
    """Without pieces of the alphabet and of keyboards."""
    kept = []
    place = 0
    while place < len(plain):
        length = _SHORTEST_RUN
        while place + length <= len(plain) and any(plain[place : place + length] in run for run in _RUNS):
            length += 1
        if length == _SHORTEST_RUN:
            kept.append(plain[place])
            place += 1
        else:
            place += length - 1
    return "".join(kept)
