"""Claim codes: what is read as one, and which slips are noticed."""

from itertools import combinations

import pytest

from app.registry.claim_codes import (
    ALPHABET,
    LENGTH,
    generate_code,
    get_code_hint,
    hash_code,
    parse_code,
)


def test_a_new_code_is_read_as_it_is_and_never_the_same() -> None:
    codes = {generate_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(parse_code(code) == code and len(code) == LENGTH + 2 for code in codes)
    assert len({hash_code(code) for code in list(codes)[:3]}) == 3


def test_case_spaces_and_hyphens_do_not_matter() -> None:
    code = generate_code()
    plain = code.replace("-", "")
    for text in (code.lower(), plain, f" {plain[:5]} {plain[5:]}\n", "-".join(plain)):
        assert parse_code(text) == code
    assert get_code_hint(code) == code[:2]


def test_every_wrong_character_is_noticed() -> None:
    plain = generate_code().replace("-", "")
    for place in range(LENGTH):
        for character in ALPHABET:
            changed = plain[:place] + character + plain[place + 1 :]
            assert (parse_code(changed) is not None) is (character == plain[place])


def test_every_two_that_changed_places_are_noticed() -> None:
    plain = generate_code().replace("-", "")
    for first, second in combinations(range(LENGTH - 1), 2):
        changed = list(plain)
        changed[first], changed[second] = changed[second], changed[first]
        if plain[first] != plain[second]:
            assert parse_code("".join(changed)) is None


@pytest.mark.parametrize(
    "text", ["", "-", "7Q4F-K9MX-2HT", "7Q4F-K9MX-2HTCC", "O0I1-LLLL-LLLL", "é" * 12, "\0" * 12]
)
def test_what_cannot_be_one_is_none(text: str) -> None:
    assert parse_code(text) is None
