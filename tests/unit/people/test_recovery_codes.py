"""Recovery codes: long enough for a plain hash, forgiving to those who type them, each removed by its use."""

import math
import re

from app.people.recovery_codes import (
    RECOVERY_CODE_COUNT,
    generate_recovery_codes,
    hash_recovery_code,
    remove_recovery_code,
)


def test_codes_have_more_than_112_bits_and_differ() -> None:
    codes = generate_recovery_codes()
    assert len(set(codes)) == RECOVERY_CODE_COUNT
    assert all(re.fullmatch("[0-9a-hjkmnp-tv-z]{6}(-[0-9a-hjkmnp-tv-z]{6}){3}", code) for code in codes)
    assert 24 * math.log2(32) >= 112


def test_what_people_type_for_it_is_the_same() -> None:
    code = "10abcd-efghjk-mnpqrs-tvwxyz"
    for typed in (code, code.upper(), code.replace("-", ""), f" {code} ", "lo" + code[2:], "IO" + code[2:]):
        assert hash_recovery_code(typed) == hash_recovery_code(code)
    assert hash_recovery_code("11" + code[2:]) != hash_recovery_code(code)


def test_a_use_removes_that_code_alone() -> None:
    codes = generate_recovery_codes()
    hashes = [hash_recovery_code(each) for each in codes]
    left = remove_recovery_code(hashes, codes[4])
    assert left == hashes[:4] + hashes[5:]
    assert remove_recovery_code(left, codes[4]) is None
    assert remove_recovery_code([], codes[0]) is None
