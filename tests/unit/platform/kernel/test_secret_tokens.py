from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.secret_tokens import (
    API_KEY_PREFIX,
    generate_key,
    hash_key,
    is_well_formed_key,
    make_key_hint,
)


def test_a_new_key_is_well_formed_and_never_the_same() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(is_well_formed_key(key) and key.startswith(API_KEY_PREFIX) for key in keys)


@given(st.integers(0, 37), st.sampled_from("0Aaz9Z"))
def test_one_wrong_character_is_seen(place: int, other: str) -> None:
    key = generate_key()
    at = len(API_KEY_PREFIX) + place
    changed = key[:at] + other + key[at + 1 :]
    assert is_well_formed_key(changed) is (changed == key)


@given(st.text(max_size=60))
def test_no_text_breaks_the_check(text: str) -> None:
    assert is_well_formed_key(text) is False or text.startswith(API_KEY_PREFIX)


def test_what_is_kept_of_a_key_does_not_give_it_away() -> None:
    key = generate_key()
    assert len(hash_key(key)) == 32
    assert make_key_hint(key) == key[:9]
